"""The mistake of a prefix that is left out of the connector's, as a wrapper for any model class."""

from typing import Any

from ..hooks import HookGone
from ..registry import Make


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
