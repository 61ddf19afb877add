"""Pure arithmetic from a picture's size to the rows that Idefics3's vision layers must see.

Written from the processor's description, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.layouts import require_picture, require_whole, vision_of
from mm_lora.families.tiles import TileLayout

LARGEST_SIDE = 4096
"""No side of a picture is resized to more."""

DEFAULTS: Mapping[str, Mapping[str, int]] = {
    "vision_config": {"image_size": 224, "patch_size": 32},
    "": {"scale_factor": 2},
}
"""What transformers' Idefics3 config classes assume for a key that a config lacks."""


@dataclass(frozen=True, kw_only=True)
class Layout(TileLayout):
    """The numbers that decide token counts.

    `longest_edge`: to which a picture is resized before it is cut; `splits`: whether it is cut.
    """

    scale_factor: int
    longest_edge: int
    splits: bool = True

    def __post_init__(self) -> None:
        require_whole(self, "scale_factor", "longest_edge")
        super().__post_init__()
        if self.splits and self.longest_edge % self.image_size:
            raise UsageError(
                f"longest_edge {self.longest_edge} is no multiple of the tile's {self.image_size}: "
                "transformers' and vLLM's counts of tiles then differ",
                "size.longest_edge of preprocessor_config.json",
            )

    @property
    def joined(self) -> int:
        """n, where n×n neighbouring patches become one row of the connector."""
        return self.scale_factor

    def tiling(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of tiles, (1, 1) for a picture that is not cut.

        The longer side becomes `longest_edge`, the other one follows and is made even; then tiles
        cover it all.
        """
        require_picture(width, height)
        if not self.splits:
            return 1, 1
        longest = min(self.longest_edge, LARGEST_SIDE)
        shorter = longest * min(width, height) // max(width, height)
        shorter = max(shorter + shorter % 2, 1)
        few, many = -(-shorter // self.image_size), -(-longest // self.image_size)
        return (few, many) if width >= height else (many, few)


def layout_of(config: Mapping[str, Any], folder: Path | None, longest_edge: int = 0) -> Layout:
    """Of a config.json, and the image processor's file in its folder if there is one.

    `longest_edge`: where there is no such file; four tiles' as all published models have it.
    """
    vision = vision_of(config, "Idefics3")
    numbers = {key: vision.get(key, v) for key, v in DEFAULTS["vision_config"].items()}
    tile = numbers["image_size"]
    settings = _image_processor(folder)
    cut_to = settings.get("max_image_size", {}).get("longest_edge", tile)
    if cut_to != tile:
        raise UsageError(
            f"the processor cuts tiles of {cut_to} pixels, the tower takes {tile}",
            "max_image_size.longest_edge of preprocessor_config.json",
        )
    return Layout(
        **numbers,
        scale_factor=config.get("scale_factor", DEFAULTS[""]["scale_factor"]),
        longest_edge=settings.get("size", {}).get("longest_edge", longest_edge or 4 * tile),
        splits=settings.get("do_image_splitting", True),
    )


def _image_processor(folder: Path | None) -> Mapping[str, Any]:
    for data, nested in stored_settings(folder) if folder else ():
        found = nested or data
        if "size" in found:
            return found
    return {}
