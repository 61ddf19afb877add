"""Mutants: seeded mistakes in the LoRA hooks of Qwen2-VL and Qwen2.5-VL."""

from collections.abc import Callable
from typing import Any

from ...mutants.mapping import MISCOUNTED, MISPLACED, under_tower
from ...registry import Make, mutant

CLASSES = (
    "vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration",
)
COUNTS = "get_mm_lora_token_counts"
MERGER = "visual.merger."
OWN = ("qwen2-vl", "qwen2.5-vl")

Rows = tuple[int, int]
"""(tower rows, connector rows)."""
Mistake = Callable[[Any, int], Rows]
"""(vision_config, placeholders) → what the mistaken hook answers."""


def merge_forgotten(vision: Any, tokens: int) -> Rows:
    """The tower is counted the language model's rows."""
    return tokens, tokens


def merge_not_squared(vision: Any, tokens: int) -> Rows:
    """Two rows of the tower for a token instead of four."""
    return tokens * vision.spatial_merge_size, tokens


def merger_unmerged(vision: Any, tokens: int) -> Rows:
    """Every merger is counted the tower's rows."""
    rows = tokens * vision.spatial_merge_size**2
    return rows, rows


def miscount(mistake: Mistake) -> Make:
    """What puts `mistake` into the count hook."""

    def make(original: Any) -> Any:
        def get_mm_lora_token_counts(self: Any, *, num_mm_embeds: int, **given: Any) -> Rows:
            return mistake(self.config.vision_config, num_mm_embeds)

        return get_mm_lora_token_counts

    return make


MISCOUNTS = (
    ("merge-forgotten", merge_forgotten, "tower rows as many as tokens"),
    ("merge-not-squared", merge_not_squared, "tower rows by merge, not merge²"),
    ("merger-unmerged", merger_unmerged, "merger counted the tower's rows"),
)

PATCHES = (
    *(
        mutant(
            f"qwen-{name}",
            {f"{owner}.{COUNTS}": miscount(mistake) for owner in CLASSES},
            reason,
            versions=">=0.32",
            kills=MISCOUNTED,
            families=OWN,
        )
        for name, mistake, reason in MISCOUNTS
    ),
    mutant(
        "qwen-merger-under-tower",
        {point: under_tower(point, MERGER) for point in (f"{c}.get_mm_mapping" for c in CLASSES)},
        "merger held by the tower",
        versions=">=0.32",
        kills=MISPLACED,
        families=OWN,
        needs_restart=True,
    ),
)
