"""The media on which every way of counting is asked, as multiples of what becomes one row."""

import math
from collections.abc import Iterator

from mm_lora.core.asking import Video
from mm_lora.families.flow import HookCase
from mm_lora.families.pictures import TURNED, Picture, prompts
from mm_lora.families.qwen.geometry import NARROWEST, Layout, picture_grid, video_grid

_SEVERAL = (
    ("twelve", "400x300"),
    ("700x400", "twelve", "700x400"),
    ("1x1", "narrowest", "gray", "palette"),
)


def alone(layout: Layout) -> tuple[Picture, ...]:
    """All single pictures for one layout, with both pixel limits and every border between."""
    one, twelve = layout.square, 12 * layout.square
    most = math.isqrt(layout.max_pixels // layout.copies)
    return (
        Picture("1x1", 1, 1, shows="the smallest picture: grown to the least area"),
        Picture("twelve", twelve, twelve, shows="exactly 12×12 rows"),
        Picture("one-less", twelve - 1, twelve - 1, shows="one pixel less"),
        Picture("one-more", twelve + 1, twelve + 1, shows="one pixel more"),
        Picture("half-down", 2 * one + one // 2, twelve, shows="2.5 rows become 2: even"),
        Picture("half-up", 3 * one + one // 2, twelve, shows="3.5 rows become 4: even"),
        Picture("below-half", twelve, one // 2 - 1, shows="a side that rounds to nothing"),
        Picture("narrowest", NARROWEST * 8, 8, shows="1:200, grown"),
        Picture("narrowest-high", one // 2, NARROWEST * (one // 2), shows="200:1"),
        Picture("row", 40 * one, one, shows="in a row"),
        Picture("700x400", 700, 400, shows="the measured one"),
        Picture("400x300", 400, 300, shows="a photograph's shape"),
        # More would be encoded for minutes where every layer sees all patches.
        Picture("many", 40 * one, 30 * one, shows="the most that is also encoded"),
        Picture("largest", most, most, shows="exactly the greatest area"),
        Picture("over-largest", most + 37, most + 37, shows="a row less than by exact numbers"),
        Picture("over-largest-wide", 3 * most, most // 2, shows="shrunk, 6:1"),
        Picture("gray", 2 * twelve, twelve, mode="L", shows="grayscale"),
        Picture("gray-alpha", twelve, twelve // 2, mode="LA", shows="grayscale with alpha"),
        Picture("rgba", twelve + 64, twelve, mode="RGBA", shows="alpha channel"),
        Picture("palette", twelve, 2 * twelve, mode="P", shows="palette"),
        Picture("exif-turned", 3 * twelve, twelve, orientation=TURNED, shows="turned by EXIF"),
    )


def questions(layout: Layout) -> tuple[tuple[Picture, ...], ...]:
    """Every picture alone, then several in one prompt."""
    return tuple(prompts({picture.name: picture for picture in alone(layout)}, _SEVERAL))


def clips(layout: Layout) -> tuple[Video, ...]:
    """Even and odd numbers of frames; frames at both limits and narrower than a square."""
    one, twelve = layout.square, 12 * layout.square
    most = math.isqrt(layout.video_max_pixels // (4 if layout.together else 1))
    few = (one // 2, twelve)
    sizes = [
        *((frames, 112, 112) for frames in (2, 3, 4, 5, 8)),
        *((frames, 320, 240) for frames in (6, 7, 9)),
        *((2, twelve, twelve), (3, twelve - 1, twelve + 1)),
        # A side of 1 or 3 pixels would be read as colours.
        *((2, 2, 2), (4, *few), (5, *reversed(few)), (2, NARROWEST * 8, 8)),
        *((4, most, most), (5, most + 37, most // 2), (2, 700, 400)),
    ]
    alone = () if layout.together else ((1, 112, 112), (1, 320, 240))
    return tuple(Video(frames=n, width=w, height=h) for n, w, h in (*alone, *sizes))


def hook_cases(layout: Layout, sizes: tuple[tuple[int, int], ...]) -> Iterator[HookCase]:
    """The rows of real pictures and videos; then numbers that none has."""
    asked = [picture.seen_size for picture in alone(layout)]
    grids = {(width, height): picture_grid(layout, width, height) for width, height in asked}
    grids |= {size: picture_grid(layout, *size) for size in sizes}
    named = [("image", f"{w}×{h}", grid) for (w, h), grid in grids.items()]
    named += [
        (
            "video",
            f"{clip.frames} frames of {clip.width}×{clip.height}",
            video_grid(layout, clip.frames, clip.width, clip.height),
        )
        for clip in clips(layout)
    ]
    for medium, label, grid in named:
        yield HookCase(
            label=label,
            tokens=grid.merged,
            tower=grid.patches,
            connector=grid.merged,
            medium=medium,
        )
    most = layout.max_pixels // layout.copies // layout.square**2
    for tokens in (0, -1, 1, -4, most + 1):
        yield HookCase(label=f"{tokens} image tokens", tokens=tokens)
