"""Mutants: seeded mistakes in Qwen3-VL's LoRA hooks, which the row checks must find."""

from typing import Any

from ...mutants.mapping import miscounted, misplaced, under_tower
from ..qwen.mutants import Rows, merge_not_squared, merger_unmerged, miscount

CLASS = "vllm.model_executor.models.qwen3_vl:Qwen3VLForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"
DEEPSTACK = "visual.deepstack_merger_list"


def deepstack_counted(vision: Any, tokens: int) -> Rows:
    """The features of each level, which lie beside the picture's own, taken for further rows."""
    levels = 1 + len(vision.deepstack_visual_indexes)
    return tokens * vision.spatial_merge_size**2, tokens * levels


PATCHES = (
    *(
        miscounted(name, COUNTS, miscount(mistake), reason, ("qwen3-vl", "qwen3-vl-moe"))
        for name, mistake, reason in (
            ("qwen3-merge-not-squared", merge_not_squared, "tower rows by merge, not merge²"),
            ("qwen3-merger-unmerged", merger_unmerged, "mergers counted the tower's rows"),
            ("qwen3-deepstack-counted", deepstack_counted, "deepstack counted as rows"),
        )
    ),
    misplaced(
        "qwen3-deepstack-under-tower",
        MAPPING,
        under_tower(MAPPING, DEEPSTACK),
        "inner mergers held by the tower",
        ("qwen3-vl", "qwen3-vl-moe"),
    ),
)
