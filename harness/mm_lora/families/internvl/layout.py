"""Pure arithmetic from a picture's size to the rows that InternVL's vision layers must see.

Written from the published description of the tiling, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.layouts import require_whole, vision_of
from mm_lora.families.tiles import TileLayout, nearest


@dataclass(frozen=True, kw_only=True)
class Layout(TileLayout):
    """The numbers that decide token counts.

    `downsample_ratio`: of pixel shuffle, 0.5 joins two by two patches. `min_tiles`, `max_tiles`:
    into which a picture is cut, both 1 where it is not. `thumbnail`: a picture that is cut is shown
    once more as a whole.
    """

    downsample_ratio: float
    min_tiles: int = 1
    max_tiles: int = 12
    thumbnail: bool = True

    class_tokens = 1
    joins = "downsample_ratio"

    def __post_init__(self) -> None:
        require_whole(self, "min_tiles", "max_tiles")
        if self.min_tiles > self.max_tiles:
            raise UsageError(
                f"at least {self.min_tiles} tiles and at most {self.max_tiles}",
                "min_dynamic_patch and max_dynamic_patch of the config",
            )
        ratio = self.downsample_ratio
        number = isinstance(ratio, float | int) and not isinstance(ratio, bool)
        if not number or not 0 < ratio <= 1 or self.joined * ratio != 1:
            raise UsageError(f"downsample_ratio is {ratio!r}; it must be 1/n", "the config")
        super().__post_init__()

    @property
    def joined(self) -> int:
        """n, where n×n neighbouring patches become one row of the connector."""
        return round(1 / self.downsample_ratio)

    @property
    def shows_whole(self) -> bool:
        """As the config says."""
        return self.thumbnail

    @property
    def most_tiles(self) -> int:
        """Of one picture, the whole one among them."""
        return self.max_tiles + (self.thumbnail and self.max_tiles > 1)

    def tiling(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of tiles, by the picture's shape."""
        return nearest(width, height, self.image_size, self.min_tiles, self.max_tiles)


def layout_of(config: Mapping[str, Any]) -> Layout:
    """Of a config.json: the processor's settings are in it too."""
    vision = vision_of(config, "InternVL")
    tile = vision.get("image_size", 448)
    if config.get("force_image_size") not in (None, tile):
        raise UsageError(
            f"force_image_size is {config['force_image_size']}, the tower's image_size {tile}",
            "force_image_size and vision_config of the config",
        )
    cut = config.get("dynamic_image_size", True)
    return Layout(
        image_size=tile,
        patch_size=vision.get("patch_size", 14),
        downsample_ratio=config.get("downsample_ratio", 0.5),
        min_tiles=config.get("min_dynamic_patch", 1) if cut else 1,
        max_tiles=config.get("max_dynamic_patch", 12) if cut else 1,
        thumbnail=config.get("use_thumbnail", True),
    )
