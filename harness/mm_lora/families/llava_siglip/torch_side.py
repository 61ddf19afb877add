"""LLaVA with a SigLIP tower, on the torch side."""

from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.llava_siglip.family import FAMILY


class LlavaSiglipSide(LlavaSide):
    """The same layers and names."""

    family = FAMILY


SIDE = LlavaSiglipSide()
