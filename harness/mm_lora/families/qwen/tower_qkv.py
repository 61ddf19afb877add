"""A known mistake of servers: no LoRA layer for the tower's fused qkv, of classes that do not list
it as packed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IGNORED = "tower-qkv-ignored"
"""What a server answers that ignores the adapter's qkv of the tower."""


def without_tower_qkv(model: Any, folder: Path, deltas: Mapping[str, Any]) -> dict[str, Any]:
    """What such a server adds, by module path."""
    return {path: delta for path, delta in deltas.items() if not path.endswith("attn.qkv")}


def explains(found: Sequence[Any]) -> tuple[str, ...]:
    """The mistake, where it accounts for every one of these mismatches of coverage."""
    return (IGNORED,) if found and all(map(_is_of_qkv, found)) else ()


def _is_of_qkv(one: Any) -> bool:
    """Whether a tensor of the fused projection is missing, or as many from a table of groups."""
    if "attn.qkv." in one.where:
        return True
    expected, observed = one.expected, one.observed
    if not isinstance(expected, Mapping) or not isinstance(observed, Mapping):
        return False
    odd = {name for name in (*expected, *observed) if expected.get(name) != observed.get(name)}
    modules, _ = observed.get("tower-attention", (0, 0))
    return odd == {"tower-attention"} and modules < expected["tower-attention"][0]
