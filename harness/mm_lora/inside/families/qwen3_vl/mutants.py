"""Mutants: seeded mistakes in Qwen3-VL's LoRA hooks, which the row checks must find."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ...hooks import HookGone, replace
from ...registry import mutant

MODULE = "vllm.model_executor.models.qwen3_vl"
CLASS = "Qwen3VLForConditionalGeneration"
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


def miscount(mistake: Mistake) -> Callable[[ModuleType], None]:
    """The action that puts `mistake` into the count hook."""

    def make(original: Any) -> Any:
        def get_mm_lora_token_counts(self: Any, *, num_mm_embeds: int, **asked: Any) -> Rows:
            return mistake(self.config.vision_config, num_mm_embeds)

        return get_mm_lora_token_counts

    return lambda module: replace(module, f"{CLASS}.get_mm_lora_token_counts", make)


def deepstack_under_tower(module: ModuleType) -> None:
    """Leaves the inner mergers out of the connector's prefixes: the tower's prefix takes them."""

    def make(original: Any) -> Any:
        def get_mm_mapping(self: Any) -> Any:
            mapping = original(self)
            if DEEPSTACK not in mapping.connector:
                raise HookGone(f"{MODULE}:{CLASS}.get_mm_mapping: no '{DEEPSTACK}'")
            mapping.connector = [p for p in mapping.connector if p != DEEPSTACK]
            return mapping

        return get_mm_mapping

    replace(module, f"{CLASS}.get_mm_mapping", make)


PATCHES = tuple(
    mutant(name, MODULE, apply, reason, versions=">=0.32")
    for name, apply, reason in (
        ("qwen3-merge-not-squared", miscount(merge_not_squared), "tower rows by merge, not merge²"),
        ("qwen3-merger-unmerged", miscount(merger_unmerged), "mergers counted the tower's rows"),
        ("qwen3-deepstack-counted", miscount(deepstack_counted), "deepstack counted as rows"),
        ("qwen3-deepstack-under-tower", deepstack_under_tower, "inner mergers held by the tower"),
    )
)
