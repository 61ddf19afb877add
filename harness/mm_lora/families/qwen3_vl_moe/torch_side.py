"""Qwen3-VL-MoE on the torch side."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.qwen import tower_qkv
from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.qwen3_vl_moe.family import FAMILY
from mm_lora.families.torch_side import Mistake


class Qwen3VLMoeSide(QwenSide):
    """transformers' Qwen3VLMoeForConditionalGeneration."""

    family = FAMILY
    # No Linear: one parameter for all experts.
    other_modules: ClassVar[tuple[str, ...]] = (*QwenSide.other_modules, "Qwen3VLMoeTextExperts")
    mistakes: ClassVar[Mapping[str, Mistake]] = {tower_qkv.IGNORED: tower_qkv.without_tower_qkv}

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """Here routed experts' parameters are [expert, out, in]."""
        return shape[-1] if ".experts." in name else super().fan_in(name, shape)

    def stored(self, name: str, tensor: Any) -> Any:
        """The published checkpoints have [expert, in, out]."""
        return tensor.transpose(1, 2).contiguous() if ".experts." in name else tensor


SIDE = Qwen3VLMoeSide()
