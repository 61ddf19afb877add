"""Mutants: seeded mistakes in Qwen3-VL's LoRA hooks, which the row checks must find."""

from collections.abc import Callable
from typing import Any

from ...hooks import HookGone
from ...registry import Make, mutant

MODULE = "vllm.model_executor.models.qwen3_vl"
CLASS = f"{MODULE}:Qwen3VLForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"
DEEPSTACK = "visual.deepstack_merger_list"

Rows = tuple[int, int]
"""(tower rows, connector rows)."""
Mistake = Callable[[Any, int], Rows]
"""(vision_config, placeholders) → what the mistaken hook answers."""


def merge_not_squared(vision: Any, tokens: int) -> Rows:
    """Two rows of the tower for a token instead of four."""
    return tokens * vision.spatial_merge_size, tokens


def merger_unmerged(vision: Any, tokens: int) -> Rows:
    """The mergers are counted the tower's rows."""
    rows = tokens * vision.spatial_merge_size**2
    return rows, rows


def deepstack_counted(vision: Any, tokens: int) -> Rows:
    """The features of each level, which lie beside the picture's own, taken for further rows."""
    levels = 1 + len(vision.deepstack_visual_indexes)
    return tokens * vision.spatial_merge_size**2, tokens * levels


def miscount(mistake: Mistake) -> Make:
    """What puts `mistake` into the count hook."""

    def make(original: Any) -> Any:
        def get_mm_lora_token_counts(self: Any, *, num_mm_embeds: int, **given: Any) -> Rows:
            return mistake(self.config.vision_config, num_mm_embeds)

        return get_mm_lora_token_counts

    return make


def deepstack_under_tower(original: Any) -> Any:
    """Leaves the inner mergers out of the connector's prefixes: the tower's prefix takes them."""

    def get_mm_mapping(self: Any) -> Any:
        mapping = original(self)
        if DEEPSTACK not in mapping.connector:
            raise HookGone(f"{MAPPING}: no '{DEEPSTACK}'")
        mapping.connector = [p for p in mapping.connector if p != DEEPSTACK]
        return mapping

    return get_mm_mapping


PATCHES = tuple(
    mutant(name, {point: make}, reason, versions=">=0.32")
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
            deepstack_under_tower,
            "inner mergers held by the tower",
        ),
    )
)
