"""LLaVA-NeXT on the torch side."""

from collections.abc import Sequence
from typing import Any

from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.llava_next.family import FAMILY


class LlavaNextSide(LlavaSide):
    """The same layers and names; a picture is counted in tiles."""

    family = FAMILY
    # Much of a canvas is without a picture: with less, q_proj alone would move too little.
    sharper = 4.0

    def measured(self, processor: Any, outcome: Any) -> Sequence[dict[str, int]]:
        """Tiles, but for those that only fill up: black becomes less than zero in a real one."""
        return [{"tiles": int(one.flatten(1).any(1).sum())} for one in outcome["pixel_values"]]


SIDE = LlavaNextSide()
