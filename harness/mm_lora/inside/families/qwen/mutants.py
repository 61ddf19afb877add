"""Mutants: seeded mistakes in the LoRA hooks of Qwen2-VL and Qwen2.5-VL."""

from collections.abc import Callable
from typing import Any

from ...hooks import HookGone
from ...registry import Make, mutant

CLASSES = (
    "vllm.model_executor.models.qwen2_vl:Qwen2VLForConditionalGeneration",
    "vllm.model_executor.models.qwen2_5_vl:Qwen2_5_VLForConditionalGeneration",
)
COUNTS = "get_mm_lora_token_counts"
MAPPING = "get_mm_mapping"
MERGER = "visual.merger."

Rows = tuple[int, int]
"""(tower rows, connector rows)."""
Mistake = Callable[[int, int], Rows]
"""(merge, placeholders) → what the mistaken hook answers."""


def merge_forgotten(merge: int, tokens: int) -> Rows:
    """The tower is counted the language model's rows."""
    return tokens, tokens


def merge_not_squared(merge: int, tokens: int) -> Rows:
    """Two rows of the tower for a token instead of four."""
    return tokens * merge, tokens


def merger_unmerged(merge: int, tokens: int) -> Rows:
    """The merger is counted the tower's rows."""
    return tokens * merge**2, tokens * merge**2


def miscount(mistake: Mistake) -> Make:
    """What puts `mistake` into the count hook."""

    def make(original: Any) -> Any:
        def get_mm_lora_token_counts(self: Any, *, num_mm_embeds: int, **given: Any) -> Rows:
            return mistake(self.config.vision_config.spatial_merge_size, num_mm_embeds)

        return get_mm_lora_token_counts

    return make


def merger_under_tower(original: Any) -> Any:
    """Leaves the merger out of the connector's prefixes: the tower's prefix takes it."""

    def get_mm_mapping(self: Any) -> Any:
        mapping = original(self)
        if MERGER not in mapping.connector:
            raise HookGone(f"{type(self).__name__}.get_mm_mapping: no '{MERGER}'")
        mapping.connector = [p for p in mapping.connector if p != MERGER]
        return mapping

    return get_mm_mapping


PATCHES = tuple(
    mutant(
        f"qwen-{name}",
        {f"{owner}.{hook}": make for owner in CLASSES},
        reason,
        versions=">=0.32",
    )
    for name, hook, make, reason in (
        ("merge-forgotten", COUNTS, miscount(merge_forgotten), "tower rows as many as tokens"),
        (
            "merge-not-squared",
            COUNTS,
            miscount(merge_not_squared),
            "tower rows by merge, not merge²",
        ),
        ("merger-unmerged", COUNTS, miscount(merger_unmerged), "merger counted the tower's rows"),
        ("merger-under-tower", MAPPING, merger_under_tower, "merger held by the tower"),
    )
)
