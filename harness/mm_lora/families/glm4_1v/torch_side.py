"""GLM-4.1V on the torch side: its tokens, and a known mistake of servers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.glm4_1v.family import FAMILY, QKV_IGNORED
from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.torch_side import Deltas, Mistake


def without_tower_qkv(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server adds whose tower has no LoRA layer for the fused projection."""
    return {path: delta for path, delta in deltas.items() if not path.endswith(".attn.qkv")}


class Glm41VSide(QwenSide):
    """transformers' Glm4vForConditionalGeneration."""

    family = FAMILY
    # No Linear: PEFT adapts both all the same.
    other_modules: ClassVar[tuple[str, ...]] = ("Conv2d", "Conv3d")
    picture = ("<|begin_of_image|>", "<|image|>", "<|end_of_image|>")
    video = ("<|begin_of_video|>", "<|video|>", "<|end_of_video|>")
    in_video = (
        *("<|begin_of_video|>", "<|end_of_video|>"),
        *("<|begin_of_image|>", "<|end_of_image|>", "<|image|>"),
    )
    mistakes: ClassVar[Mapping[str, Mistake]] = {QKV_IGNORED: without_tower_qkv}


SIDE = Glm41VSide()
