"""Qwen2-VL as a family: every layer of the tower sees the whole picture."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mm_lora.families.family import VllmClass
from mm_lora.families.qwen.miniature import DEPTH, TEXT_HIDDEN
from mm_lora.families.qwen.vision import (
    OLDER,
    QwenVision,
    forms,
    groups,
    measured,
    prefix_cases,
)

_MLP = ("fc1", "fc2")


class Qwen2VL(QwenVision):
    """Layer norms with biases and a plain MLP in the tower, no windows."""

    name = "qwen2-vl"
    title = "Qwen2-VL"
    model_types = ("qwen2_vl",)
    published = ("qwen2-vl", "qwen2-vl-2b")
    repositories: ClassVar[Mapping[str, str]] = {
        "Qwen/Qwen2-VL-7B-Instruct": "qwen2-vl",
        "Qwen/Qwen2-VL-2B-Instruct": "qwen2-vl-2b",
    }
    groups = groups(_MLP, "fc?")
    forms = forms(groups, _MLP, ("tower-mlp",))
    vllm = VllmClass(module="qwen2_vl", name="Qwen2VLForConditionalGeneration")
    processor_class = "Qwen2VLProcessor"
    beside_embeds: ClassVar[tuple[str, ...]] = ("image_grid_thw",)
    # `hidden_size` is the merger's output here; the MLP has embed_dim × mlp_ratio.
    vision_widths: ClassVar[Mapping[str, Any]] = {
        "depth": DEPTH - 1,
        "embed_dim": 64,
        "num_heads": 4,
        "hidden_size": TEXT_HIDDEN,
    }
    older = OLDER
    prefix_cases = prefix_cases(*_MLP)
    known_flows = measured(name)


FAMILY = Qwen2VL()
