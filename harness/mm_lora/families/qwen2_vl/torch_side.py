"""Qwen2-VL on the torch side."""

from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.qwen2_vl.family import FAMILY


class Qwen2VLSide(QwenSide):
    """transformers' Qwen2VLForConditionalGeneration."""

    family = FAMILY


SIDE = Qwen2VLSide()
