"""Qwen2.5-VL as a family: most layers of the tower see windows, some the whole picture."""

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

FAST_VIDEOS = "videos-of-24-frames-a-second"
"""What a server answers that does not tell the processor a video's frames a second."""

_MLP = ("gate_proj", "up_proj", "down_proj")


class Qwen25VL(QwenVision):
    """A SwiGLU in the tower's MLP, and windows."""

    name = "qwen2.5-vl"
    title = "Qwen2.5-VL"
    model_types = ("qwen2_5_vl",)
    published = ("qwen2.5-vl", "qwen2.5-vl-3b")
    repositories: ClassVar[Mapping[str, str]] = {
        "Qwen/Qwen2.5-VL-7B-Instruct": "qwen2.5-vl",
        "Qwen/Qwen2.5-VL-3B-Instruct": "qwen2.5-vl-3b",
    }
    groups = groups(_MLP, "*_proj")
    forms = forms(groups, _MLP, ("tower-mlp", "language-model"))
    vllm = VllmClass(module="qwen2_5_vl", name="Qwen2_5_VLForConditionalGeneration")
    processor_class = "Qwen2_5_VLProcessor"
    beside_embeds: ClassVar[tuple[str, ...]] = ("image_grid_thw",)
    vision_widths: ClassVar[Mapping[str, Any]] = {
        "depth": DEPTH,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_heads": 4,
        "out_hidden_size": TEXT_HIDDEN,
        # As published: at equal distances, and the last one.
        "fullatt_block_indexes": [1, 3],
    }
    older = OLDER
    prefix_cases = prefix_cases("gate_up_proj", "down_proj")
    known_flows = measured(name)
    base_predictors = (FAST_VIDEOS,)


FAMILY = Qwen25VL()
