"""Mutants: seeded mistakes in Qwen3-VL's LoRA hooks, which the row checks must find."""

from typing import Any

from ...mutants.mapping import MISCOUNTED, MISPLACED, under_tower
from ...registry import mutant
from ..qwen.mutants import Rows, merge_not_squared, merger_unmerged, miscount

CLASS = "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"
DEEPSTACK = "visual.deepstack_merger_list"


def deepstack_counted(vision: Any, tokens: int) -> Rows:
    """The features of each level, which lie beside the picture's own, taken for further rows."""
    levels = 1 + len(vision.deepstack_visual_indexes)
    return tokens * vision.spatial_merge_size**2, tokens * levels


PATCHES = tuple(
    mutant(
        name,
        {point: make},
        reason,
        versions=">=0.32",
        kills=MISPLACED if point == MAPPING else MISCOUNTED,
        families=("qwen3-vl", "qwen3-vl-moe"),
        needs_restart=point == MAPPING,
    )
    for name, point, make, reason in (
        (
            "qwen3-merge-not-squared",
            COUNTS,
            miscount(merge_not_squared),
            "tower rows by merge, not merge²",
        ),
        (
            "qwen3-merger-unmerged",
            COUNTS,
            miscount(merger_unmerged),
            "mergers counted the tower's rows",
        ),
        (
            "qwen3-deepstack-counted",
            COUNTS,
            miscount(deepstack_counted),
            "deepstack counted as rows",
        ),
        (
            "qwen3-deepstack-under-tower",
            MAPPING,
            under_tower(MAPPING, DEEPSTACK),
            "inner mergers held by the tower",
        ),
    )
)
