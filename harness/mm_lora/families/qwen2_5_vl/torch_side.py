"""Qwen2.5-VL on the torch side."""

from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.qwen2_5_vl.family import FAMILY


class Qwen25VLSide(QwenSide):
    """transformers' Qwen2_5_VLForConditionalGeneration."""

    family = FAMILY


SIDE = Qwen25VLSide()
