"""The pictures that every way of counting gets: sizes, modes and several per prompt.

Data only, as factors of the tile's side, so that every geometry meets its own borders.
"""

from mm_lora.families.llama4.geometry import Geometry
from mm_lora.families.pictures import TURNED, Picture


def pictures(geometry: Geometry) -> tuple[Picture, ...]:
    """All single pictures for one geometry, the smallest chunk count and the largest among them."""
    tile, most = geometry.image_size, geometry.max_chunks
    rows = max(n for n in range(1, most + 1) if n * n <= most)
    return (
        Picture("1x1", 1, 1, shows="the smallest picture"),
        Picture("one-tile", tile, tile, shows="exactly one tile"),
        Picture("one-less", tile - 1, tile - 1, shows="one pixel less than a tile"),
        Picture("one-over-wide", tile + 1, tile, shows="one pixel too wide"),
        Picture("one-over-high", tile, tile + 1, shows="one pixel too high"),
        Picture("two-tiles", 2 * tile, tile, shows="exactly two tiles"),
        Picture("wide-16", 16 * tile, tile, shows="16:1, in a row"),
        Picture("high-16", tile, 16 * tile, shows="1:16, in a column"),
        Picture("thin-16", 16 * 7, 7, shows="16:1, far below a tile"),
        Picture(
            "largest-canvas",
            rows * tile,
            rows * tile,
            shows="the largest square canvas",
        ),
        Picture("over-largest", rows * tile + 1, rows * tile + 1, shows="must be shrunk"),
        Picture("very-wide", 20 * tile, tile // 2, shows="wider than any canvas"),
        Picture("700x400", 700, 400, shows="the measured one: 7 chunks at 336, 3 at 504"),
        Picture("400x300", 400, 300, shows="a photograph's shape"),
        Picture("gray", 2 * tile, tile, mode="L", shows="grayscale"),
        Picture("gray-alpha", tile, tile, mode="LA", shows="grayscale with alpha"),
        Picture("rgba", tile + 64, tile, mode="RGBA", shows="alpha channel"),
        Picture("palette", tile, 2 * tile, mode="P", shows="palette"),
        Picture("exif-turned", 3 * tile, tile, orientation=TURNED, shows="turned by EXIF"),
    )


def prompts(geometry: Geometry) -> tuple[tuple[Picture, ...], ...]:
    """Prompts with several pictures, as the processors and servers get them."""
    by_name = {picture.name: picture for picture in pictures(geometry)}
    return tuple(
        tuple(by_name[name] for name in names)
        for names in (
            ("one-tile", "400x300"),
            ("700x400", "one-tile", "700x400"),
            ("1x1", "wide-16", "gray", "palette"),
        )
    )


def every_chunk_count(geometry: Geometry) -> tuple[Picture, ...]:
    """One picture for each number of chunks that exists: 1, 3, 4, … max_chunks + 1 (never 2)."""
    tile = geometry.image_size
    return tuple(
        Picture(f"{columns}-in-a-row", columns * tile, tile, shows=f"{columns} tiles")
        for columns in range(1, geometry.max_chunks + 1)
    )
