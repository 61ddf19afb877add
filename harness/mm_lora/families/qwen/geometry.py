"""Pure arithmetic from a picture's or a video's size to the rows of Qwen's vision layers.

One of the four independent truths: written from the formulae, sharing no line with transformers or
vLLM. A picture keeps its shape: it is resized to whole squares of patch × merge pixels a side, each
of which becomes one row of the language model and merge² rows of the tower.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.layouts import require_whole

MIN_PIXELS, MAX_PIXELS = 56 * 56, 3584 * 3584
"""Of the published image processors, in pixels of the resized picture."""

_LIMITS = ("min_pixels", "max_pixels", "video_min_pixels", "video_max_pixels")

NARROWEST = 200
"""The longer side is at most so many times the shorter one."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The vision numbers that decide token counts.

    `patch`: side of a patch in pixels. `merge`: merge × merge patches become one row. `temporal`:
    frames that become one (a picture counts as so many equal ones). `min_pixels`, `max_pixels`: of
    the resized picture; `video_min_pixels`, `video_max_pixels`: of a resized frame, or, if
    `together`, of all frames. `copies`: as so many equal frames of a video a picture is resized, 1
    where it is resized as a picture. `window`: side of an attention window in pixels, 0 where all
    layers see the whole picture. Raises UsageError where no model can have these numbers.
    """

    patch: int
    merge: int
    temporal: int = 2
    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    video_min_pixels: int = MIN_PIXELS
    video_max_pixels: int = MAX_PIXELS
    together: bool = False
    copies: int = 1
    window: int = 0

    def __post_init__(self) -> None:
        require_whole(self, "patch", "merge", "temporal", "copies", *_LIMITS)
        for least, most in (_LIMITS[:2], _LIMITS[2:]):
            if getattr(self, most) < max(self.square**2, getattr(self, least)):
                raise UsageError(
                    f"{least} is {getattr(self, least)}, {most} {getattr(self, most)}, and one row "
                    f"of the language model is {self.square}×{self.square} pixels",
                    "the processor's files of the model",
                )
        if self.window % self.square:
            raise UsageError(
                f"window_size {self.window} is no multiple of {self.square} pixels",
                "vision_config of the config: window_size, patch_size and spatial_merge_size",
            )

    @property
    def square(self) -> int:
        """Side in pixels of what becomes one row of the language model."""
        return self.patch * self.merge

    @classmethod
    def of(
        cls,
        vision: Mapping[str, Any],
        pictures: Mapping[str, Any],
        videos: Mapping[str, Any],
        *,
        together: bool = False,
        copies: int = 1,
    ) -> "Layout":
        """From config.json's vision part and the settings of both processors."""
        least, most = _limits(pictures)
        video_least, video_most = _limits(videos)
        return cls(
            patch=vision.get("patch_size", 14),
            merge=vision.get("spatial_merge_size", 2),
            temporal=vision.get("temporal_patch_size", 2),
            min_pixels=least,
            max_pixels=most,
            video_min_pixels=video_least,
            video_max_pixels=video_most,
            together=together,
            copies=copies,
            window=vision.get("window_size", 0),
        )


@dataclass(frozen=True)
class Grid:
    """Patches of a medium: `frames` groups of frames, each `height` × `width` patches."""

    frames: int
    height: int
    width: int
    merge: int

    @property
    def patches(self) -> int:
        """Rows of every tower layer."""
        return self.frames * self.height * self.width

    @property
    def merged(self) -> int:
        """Rows of the connector, and placeholders in the prompt."""
        return self.patches // self.merge**2


def picture_grid(layout: Layout, width: int, height: int) -> Grid:
    """The grid of one picture of `width` × `height` pixels. Raises UsageError for one that the
    processor refuses."""
    limits = (layout.min_pixels, layout.max_pixels)
    if layout.copies > 1:
        return _grid(layout, 1, *_shared(layout, layout.copies, width, height, limits))
    return _grid(layout, 1, *_squares(layout.square, width, height, limits))


def video_grid(layout: Layout, frames: int, width: int, height: int) -> Grid:
    """The grid of a video of `frames` sampled frames: the last one is repeated to fill a group.

    See `_shared` where the limits hold for all frames `together`.
    """
    least = layout.temporal if layout.together else 1
    if frames < least:
        raise UsageError(f"a video of {frames} frames", f"at least {least}")
    groups = -(-frames // layout.temporal)
    limits = (layout.video_min_pixels, layout.video_max_pixels)
    if not layout.together:
        return _grid(layout, groups, *_squares(layout.square, width, height, limits))
    return _grid(layout, groups, *_shared(layout, frames, width, height, limits))


def windows(layout: Layout, grid: Grid) -> int:
    """How many windows the attention of most layers sees, those cut off at the border too."""
    if not layout.window:
        return grid.frames
    side = layout.window // layout.patch
    return grid.frames * -(-grid.height // side) * -(-grid.width // side)


def _grid(layout: Layout, groups: int, rows: int, columns: int) -> Grid:
    return Grid(groups, rows * layout.merge, columns * layout.merge, layout.merge)


def _shared(
    layout: Layout, frames: int, width: int, height: int, limits: tuple[int, int]
) -> tuple[int, int]:
    """(rows, columns) of squares where the limits hold for all frames together.

    A frame that is narrower than a square is enlarged first, and the area before resizing counts
    whole groups, to the nearest, the even one of two equally near.
    """
    if 0 < min(width, height) < layout.square:
        larger = max(layout.square / height, layout.square / width)
        width, height = int(width * larger), int(height * larger)
    whole = round(frames / layout.temporal) * layout.temporal
    return _squares(layout.square, width, height, limits, frames=frames, whole=whole)


def _limits(settings: Mapping[str, Any]) -> tuple[int, int]:
    """The least and the greatest area, under the older names or the newer ones."""
    size = settings.get("size") or {}
    return (
        settings.get("min_pixels") or size.get("shortest_edge", MIN_PIXELS),
        settings.get("max_pixels") or size.get("longest_edge", MAX_PIXELS),
    )


def _squares(
    side: int, width: int, height: int, limits: tuple[int, int], *, frames: int = 1, whole: int = 1
) -> tuple[int, int]:
    """(rows, columns) of squares, each `side` pixels wide, of a resized picture.

    `limits`: of the area of all `frames`, which are `whole` ones after grouping.

    Each side becomes the nearest whole number of squares, the even one of two equally near. Where
    the area is then beyond a limit, both sides are scaled by one factor to meet it, and rounded
    towards the permitted side. The published processors compute in double precision, and so must
    this: a square picture that meets a limit exactly may come out a square smaller.
    """
    if width <= 0 or height <= 0:
        raise UsageError(f"a picture of {width}×{height} pixels", "both sides above zero")
    if max(width, height) > NARROWEST * min(width, height):
        raise UsageError(
            f"a picture of {width}×{height} pixels is narrower than 1:{NARROWEST}",
            "the image processor refuses it",
        )
    sides = (height, width)
    least, most = limits
    rows, columns = (round(pixels / side) for pixels in sides)
    area = whole * rows * columns * side**2
    if area > most:
        shrink = math.sqrt(frames * height * width / most)
        rows, columns = (max(1, math.floor(pixels / shrink / side)) for pixels in sides)
    elif area < least:
        grow = math.sqrt(least / (frames * height * width))
        rows, columns = (math.ceil(pixels * grow / side) for pixels in sides)
    return rows, columns
