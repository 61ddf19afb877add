"""Pure arithmetic from a picture's size to the rows that LFM2-VL's vision layers must see.

Written from the processor's description, sharing no line with transformers or vLLM.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.layouts import require_picture, require_whole
from mm_lora.families.tiles import nearest

NUMBERS: Mapping[str, int] = {
    "tile_size": 512,
    "encoder_patch_size": 16,
    "downsample_factor": 2,
    "min_image_tokens": 64,
    "max_image_tokens": 256,
    "min_tiles": 2,
    "max_tiles": 10,
}
"""The image processor's, with what transformers assumes where one is not stated."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `encoder_patch_size`: side of a patch in pixels; `downsample_factor`: n, where n×n neighbouring
    patches become one row of the connector. A picture has `min_image_tokens` to `max_image_tokens`
    of these; one that is more than `tolerance` times too large is cut into `min_tiles` to
    `max_tiles` tiles of `tile_size` pixels, and with `thumbnail` shown as a whole after them.
    Raises UsageError where no model can have these numbers.
    """

    tile_size: int
    encoder_patch_size: int
    downsample_factor: int
    min_image_tokens: int
    max_image_tokens: int
    min_tiles: int
    max_tiles: int
    tolerance: float = 2.0
    thumbnail: bool = True

    def __post_init__(self) -> None:
        require_whole(self, *NUMBERS)
        if self.tile_size % self.square:
            raise UsageError(
                f"a tile of {self.tile_size} pixels is no whole number of {self.square}",
                "tile_size, encoder_patch_size and downsample_factor of the processor",
            )
        for less, more in (("min_image_tokens", "max_image_tokens"), ("min_tiles", "max_tiles")):
            if getattr(self, less) > getattr(self, more):
                raise UsageError(f"{less} is larger than {more}", "the processor's settings")

    @property
    def square(self) -> int:
        """Side in pixels of what becomes one row of the connector."""
        return self.encoder_patch_size * self.downsample_factor

    @property
    def tile_tokens(self) -> int:
        """Rows of the connector for one tile: 256 on every published model."""
        return (self.tile_size // self.square) ** 2

    def tiling(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of tiles, (1, 1) for a picture that is not cut.

        A picture that is cut has the grid that is `nearest` to it.
        """
        require_picture(width, height)
        # The processor allows a thin picture half a square here.
        sides = (max(_nearest(side, self.square) * 2, 1) for side in (width, height))
        if math.prod(sides) <= 4 * self.max_image_tokens * self.tolerance or self.max_tiles == 1:
            return 1, 1
        return nearest(width, height, self.tile_size, self.min_tiles, self.max_tiles)

    def whole(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of the connector for a picture that is shown as a whole: its own size to
        the nearest square, or scaled to fit between the least and the most tokens."""
        high, wide = (max(_nearest(side, self.square), 1) for side in (height, width))
        if high * wide > self.max_image_tokens:
            shrink = math.sqrt(height * width / (self.max_image_tokens * self.square**2))
            high, wide = (
                max(math.floor(side / shrink / self.square), 1) for side in (height, width)
            )
        elif high * wide < self.min_image_tokens:
            grow = math.sqrt(self.min_image_tokens * self.square**2 / (height * width))
            high, wide = (math.ceil(side * grow / self.square) for side in (height, width))
        return high, wide


def layout_of(folder: Path | None, stored: Mapping[str, Any], vision: Mapping[str, Any]) -> Layout:
    """Of the image processor's settings in a model folder, else of those that are `stored`.

    The tower's patches must be the processor's.
    """
    settings = stored
    for data, nested in stored_settings(folder) if folder else ():
        found = nested or data
        if NUMBERS.keys() & found.keys():
            settings = found
            break
    numbers = {key: settings.get(key, value) for key, value in NUMBERS.items()}
    if not settings.get("do_image_splitting", True):
        numbers |= {"min_tiles": 1, "max_tiles": 1}
    patch = vision.get("patch_size", numbers["encoder_patch_size"])
    if patch != numbers["encoder_patch_size"]:
        raise UsageError(
            f"the processor makes patches of {numbers['encoder_patch_size']} pixels, the tower "
            f"takes {patch}",
            "encoder_patch_size of preprocessor_config.json",
        )
    return Layout(
        **numbers,
        tolerance=settings.get("max_pixels_tolerance", 2.0),
        thumbnail=settings.get("use_thumbnail", True),
    )


def _nearest(side: int, square: int) -> int:
    """How often `square` fits into `side`, rounded; halves to the even number."""
    return round(side / square)
