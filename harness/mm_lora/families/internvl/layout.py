"""Pure arithmetic from a picture's size to the rows that InternVL's vision layers must see.

Written from the published description of the tiling, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_lora.core.errors import UsageError

_WHOLE = ("image_size", "patch_size", "min_tiles", "max_tiles")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `image_size`: side of a square tile in pixels, `patch_size`: of a patch. `downsample_ratio`: of
    pixel shuffle, 0.5 joins two by two patches. `min_tiles`, `max_tiles`: into which a picture is
    cut, both 1 where it is not. `thumbnail`: a picture that is cut is shown once more as a whole.
    Raises UsageError where no model can have these numbers.
    """

    image_size: int
    patch_size: int
    downsample_ratio: float
    min_tiles: int = 1
    max_tiles: int = 12
    thumbnail: bool = True

    def __post_init__(self) -> None:
        for name in _WHOLE:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
                raise UsageError(f"{name} is {value!r}; it must be a whole number above zero", name)
        if self.min_tiles > self.max_tiles:
            raise UsageError(
                f"at least {self.min_tiles} tiles and at most {self.max_tiles}",
                "min_dynamic_patch and max_dynamic_patch of the config",
            )
        ratio = self.downsample_ratio
        if isinstance(ratio, bool) or not isinstance(ratio, float | int) or not 0 < ratio <= 1:
            raise UsageError(f"downsample_ratio is {ratio!r}; it must be in (0, 1]", "the config")
        if self.joined * ratio != 1 or self.side < 1 or self.side % self.joined:
            raise UsageError(
                f"downsample_ratio {ratio} does not divide the {self.side} patches along a tile "
                f"(image_size {self.image_size} / patch_size {self.patch_size})",
                "downsample_ratio and vision_config of the config",
            )

    @property
    def joined(self) -> int:
        """n, where n×n neighbouring patches become one row of the connector."""
        return round(1 / self.downsample_ratio)

    @property
    def side(self) -> int:
        """Patches along a tile."""
        return self.image_size // self.patch_size

    @property
    def encoder_rows(self) -> int:
        """Rows of every tower layer for one tile: its patches and the class token."""
        return self.side**2 + 1

    @property
    def connector_rows(self) -> int:
        """Rows of the connector for one tile, and its placeholders: 256 as published."""
        return (self.side // self.joined) ** 2

    @property
    def most_tiles(self) -> int:
        """Of one picture, the whole one among them."""
        return self.max_tiles + (self.thumbnail and self.max_tiles > 1)

    def tiling(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of tiles: the grid whose shape is nearest to the picture's.

        Of several equally near ones the smallest, unless the picture has more than half of a larger
        one's pixels: then the largest of these. Distances are in double precision, as where the
        published processors compare them.
        """
        if min(width, height) < 1:
            raise UsageError(f"no picture has {width}x{height} pixels", "the size")
        grids: dict[float, list[tuple[int, int]]] = {}
        for columns in range(1, self.max_tiles + 1):
            for rows in range(1, self.max_tiles // columns + 1):
                if rows * columns >= self.min_tiles:
                    distance = abs(width / height - columns / rows)
                    grids.setdefault(distance, []).append((rows, columns))
        nearest = sorted(grids[min(grids)], key=_count)
        half = self.image_size**2 / 2
        filled = [grid for grid in nearest[1:] if width * height > half * _count(grid)]
        return filled[-1] if filled else nearest[0]

    def tiles(self, width: int, height: int) -> int:
        """How many tiles the tower sees of a picture."""
        cut = _count(self.tiling(width, height))
        return cut + (self.thumbnail and cut > 1)


def _count(grid: tuple[int, int]) -> int:
    return grid[0] * grid[1]


def layout_of(config: Mapping[str, Any]) -> Layout:
    """Of a config.json: the processor's settings are in it too."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping):
        raise UsageError("the config has no vision_config", "a config.json of a whole InternVL")
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
