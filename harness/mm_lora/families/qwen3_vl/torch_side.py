"""Qwen3-VL on the torch side."""

from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.qwen3_vl.family import FAMILY


class Qwen3VLSide(QwenSide):
    """transformers' Qwen3VLForConditionalGeneration."""

    family = FAMILY


SIDE = Qwen3VLSide()
