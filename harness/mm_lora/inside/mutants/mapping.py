"""Mistakes in the two hooks of any model class: wrong counts, a prefix that is left out."""

from collections.abc import Callable
from typing import Any

from ..hooks import HookGone
from ..registry import Make, Patch, mutant

MISCOUNTED = (
    "arithmetic/*/rows/few-*",
    "arithmetic/*/rows/*",
    "dice/*/*/effect",
    "relations/*/*/same-after-others",
)
"""What fails of wrong counts: rows inside the layers, numbers, and an answer that depends on who
was there before."""

MISPLACED = (
    "coverage/*/*/wrapped",
    "arithmetic/*/rows/few-*",
    "dice/*/*/effect",
    "relations/*/*/same-after-others",
)
"""What fails where layers have another wrapper than they should."""

_SINCE = ">=0.32"

Mistake = Callable[[Any, int, Any], tuple[int, Any]]
"""(model, right tower rows, right connector rows, None where a class has no connector) → what the
mistaken hook answers."""


def miscount(mistake: Mistake) -> Make:
    """What puts `mistake` into the count hook."""

    def make(original: Any) -> Any:
        def get_mm_lora_token_counts(self: Any, **given: Any) -> tuple[int, Any]:
            return mistake(self, *original(self, **given))

        return get_mm_lora_token_counts

    return make


def miscounted(
    name: str, hook: str, make: Make, reason: str, families: tuple[str, ...], versions: str = _SINCE
) -> Patch:
    """The mutant that puts `make` into a count hook."""
    return mutant(name, {hook: make}, reason, versions, kills=MISCOUNTED, families=families)


def misplaced(
    name: str, hook: str, make: Make, reason: str, families: tuple[str, ...], versions: str = _SINCE
) -> Patch:
    """The mutant that puts `make` into a get_mm_mapping, which is read when layers are wrapped."""
    return mutant(
        name, {hook: make}, reason, versions, kills=MISPLACED, families=families, needs_restart=True
    )


def connector_as_tower(model: Any, tower: int, connector: Any) -> tuple[int, int]:
    """A mistake: the connector is counted the tower's rows."""
    return tower, tower


def under_tower(point: str, prefix: str) -> Make:
    """Leaves `prefix` out of the connector's: the tower's, below which it lies, takes its layers.

    `point`: the get_mm_mapping that is wrapped, for the message of HookGone.
    """

    def make(original: Any) -> Any:
        def get_mm_mapping(self: Any) -> Any:
            mapping = original(self)
            if prefix not in mapping.connector:
                raise HookGone(f"{point}: no '{prefix}'")
            mapping.connector = [one for one in mapping.connector if one != prefix]
            return mapping

        return get_mm_mapping

    return make


def held_by_tower(original: Any) -> Any:
    """Gives the connector's prefixes to the tower: where they are not below the tower's, leaving
    one out would give its layers to nobody."""

    def get_mm_mapping(self: Any) -> Any:
        mapping = original(self)
        mapping.tower_model = [*mapping.tower_model, *mapping.connector]
        mapping.connector = []
        return mapping

    return get_mm_mapping
