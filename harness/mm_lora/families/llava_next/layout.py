"""Pure arithmetic from a picture's size to its tiles, and to the rows of LLaVA-NeXT's layers.

Written from the description of "anyres" pictures, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.layouts import require_picture
from mm_lora.families.llava import layout as llava

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""What transformers assumes where a config has none."""

Pinpoints = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Layout(llava.Layout):
    """`pinpoints`: (height, width) of the canvases that a picture may be laid on, in pixels; each
    is cut into tiles of `image_size`."""

    pinpoints: Pinpoints

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.connector_rows(self.grid(1, 1)) != self.side**2:
            raise UsageError(
                "the connector does not see one row for each patch of a tile",
                "vision_feature_select_strategy: default for a tower with a class token",
            )
        if not self.pinpoints:
            raise UsageError("there are no image_grid_pinpoints", "the config")
        for height, width in self.pinpoints:
            if min(height, width) < 1 or height % self.image_size or width % self.image_size:
                raise UsageError(
                    f"tiles of {self.image_size} pixels do not fill a canvas of {height}x{width}",
                    "image_grid_pinpoints of the config",
                )

    @property
    def side(self) -> int:
        """Patches along a tile."""
        return self.image_size // self.patch_size

    @property
    def most_tiles(self) -> int:
        """Of one picture, the tile that shows the whole among them."""
        return 1 + max(height * width for height, width in self.pinpoints) // self.image_size**2

    @property
    def tile_rows(self) -> int:
        """Rows of the tower for one tile."""
        return self.encoder_rows(self.grid(1, 1))

    def tiling(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of tiles of the canvas on which the picture keeps the most pixels; of
        those that keep as many, the one that is the least larger; else the first of them.

        Scaled up, a picture has no more pixels than it had.
        """
        require_picture(width, height)

        def worth(canvas: tuple[int, int]) -> tuple[int, int]:
            high, wide = canvas
            # In floating point as the processor scales: 671 for some sides that are 672 exactly.
            scale = min(wide / width, high / height)
            kept = min(int(width * scale) * int(height * scale), width * height)
            return kept, kept - high * wide

        high, wide = max(self.pinpoints, key=worth)
        return high // self.image_size, wide // self.image_size

    def unpadded(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of patches of the canvas that show the picture: its bars are cut off, as
        much on one side as on the other."""
        high, wide = (tiles * self.side for tiles in self.tiling(width, height))
        if width * high > wide * height:
            return high - (high - height * wide // width) // 2 * 2, wide
        return high, wide - (wide - width * high // height) // 2 * 2

    def tokens(self, width: int, height: int) -> int:
        """Placeholders: of the whole picture, of its patches, and of a line's end after each row of
        them."""
        high, wide = self.unpadded(width, height)
        return self.side**2 + high * (wide + 1)


def layout_of(
    config: Mapping[str, Any], folder: Path | None, tower: str, defaults: Mapping[str, int]
) -> Layout:
    """Of a config.json whose tower is of that `model_type`. The image processor's file in `folder`
    must say the same: its counts, and vLLM's by the config, would differ."""
    plain = llava.layout_of(config, tower, defaults)
    pinpoints = _pinpoints(config.get("image_grid_pinpoints") or PINPOINTS)
    if folder is not None:
        llava.require_size(folder, plain.image_size)
        for data, nested in stored_settings(folder):
            found = (nested or data).get("image_grid_pinpoints")
            if found is not None and _pinpoints(found) != pinpoints:
                raise UsageError(
                    f"the processor has the pinpoints {found}, the config others",
                    "image_grid_pinpoints of preprocessor_config.json",
                )
    numbers = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return Layout(**numbers, pinpoints=pinpoints)


def _pinpoints(stored: Any) -> Pinpoints:
    fits = isinstance(stored, Sequence) and all(
        isinstance(one, Sequence) and len(one) == 2 and all(type(side) is int for side in one)
        for one in stored
    )
    if not fits:
        raise UsageError(
            f"image_grid_pinpoints is {stored!r}", "pairs of height and width, in pixels"
        )
    return tuple((high, wide) for high, wide in stored)
