"""Pictures and frames drawn with Pillow: the dice that scenarios ask about, plain ones for sizes.

Equal parameters give equal PNG bytes. `read_dice` reads colours and pips back from the pixels.
"""

import io
import random
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw

from mm_lora.core.asking import Picture
from mm_lora.core.errors import UsageError

COLOURS = {
    "red": (200, 30, 40),
    "green": (20, 140, 60),
    "blue": (30, 70, 200),
    "orange": (240, 140, 20),
    "purple": (130, 40, 160),
    "teal": (0, 140, 150),
}
BACKGROUND = (245, 242, 235)
PIP = (255, 255, 255)
DEFAULT_COLOURS = ("red", "green", "blue", "orange")
DEFAULT_PIPS = (3, 5, 1, 6)
KINDS = ("dice", "plain", "gradient", "noise")
SMALLEST_DICE = 48
"""Pixels of the shorter side: below, a pip has no pixel of its own."""

# Pip places in a 3 × 3 grid (column, row), as on a real die.
_PLACES = {
    1: ((1, 1),),
    2: ((0, 0), (2, 2)),
    3: ((0, 0), (1, 1), (2, 2)),
    4: ((0, 0), (2, 0), (0, 2), (2, 2)),
    5: ((0, 0), (2, 0), (1, 1), (0, 2), (2, 2)),
    6: ((0, 0), (2, 0), (0, 1), (2, 1), (0, 2), (2, 2)),
}
_EVERY_PLACE = tuple((column, row) for row in range(3) for column in range(3))


def draw(kind: str, size: tuple[int, int], seed: int = 0) -> Image.Image:
    """An RGB picture of `kind` (see KINDS), `size` = (width, height) in pixels; a seed varies it.

    Raises UsageError for an unknown kind and for dice that are too small to be read.
    """
    if min(size) < 1:
        raise UsageError(f"a picture cannot have {size[0]}x{size[1]} pixels", "the size")
    match kind:
        case "dice":
            return dice(size, *_thrown(seed))
        case "plain":
            return Image.new("RGB", size, sorted(COLOURS.values())[seed % len(COLOURS)])
        case "gradient":
            return _gradient(size, sorted(COLOURS.values())[seed % len(COLOURS)])
        case "noise":
            pixels = random.Random(seed).randbytes(size[0] * size[1] * 3)
            return Image.frombytes("RGB", size, pixels)
    raise UsageError(f"no picture kind '{kind}'", f"one of {', '.join(KINDS)}")


def dice(
    size: tuple[int, int] = (336, 336),
    colours: Sequence[str] = DEFAULT_COLOURS,
    pips: Sequence[int] = DEFAULT_PIPS,
) -> Image.Image:
    """Four coloured dice in a 2 × 2 arrangement, read left to right, top to bottom.

    `size`: (width, height), each at least SMALLEST_DICE pixels. Raises UsageError.
    """
    if min(size) < SMALLEST_DICE:
        raise UsageError(
            f"dice cannot be drawn on {size[0]}x{size[1]} pixels",
            f"a size of at least {SMALLEST_DICE}x{SMALLEST_DICE}",
        )
    if len(colours) != 4 or len(pips) != 4:
        raise UsageError(
            f"{len(colours)} colours and {len(pips)} pips", "give four of each, one for every die"
        )
    for colour in colours:
        if colour not in COLOURS:
            raise UsageError(f"dice cannot be '{colour}'", f"one of {', '.join(COLOURS)}")
    for count in pips:
        if count not in _PLACES:
            raise UsageError(f"a die cannot show {count} pips", "pips from 1 to 6")
    image = Image.new("RGB", size, BACKGROUND)
    pen = ImageDraw.Draw(image)
    side = _side(size)
    radius = max(side // 12, 1)
    for (x, y), colour, count in zip(_centres(size), colours, pips, strict=True):
        left, top = x - side // 2, y - side // 2
        box = (left, top, left + side, top + side)
        pen.rounded_rectangle(box, radius=side // 6, fill=COLOURS[colour])
        for cx, cy in _pip_centres(x, y, side, _PLACES[count]):
            pen.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=PIP)
    return image


def read_dice(image: Image.Image) -> list[tuple[str, int]]:
    """(colour, pips) of each die from the pixels alone: the face's colour, the shining places."""
    pixels = image.convert("RGB")
    side = _side(image.size)
    found = []
    for x, y in _centres(image.size):
        # Between the pips' rows and columns the face shows its own colour.
        face = _pixel(pixels, (x + side * 3 // 20, y + side * 3 // 20))
        colour = min(COLOURS, key=lambda name: _distance(COLOURS[name], face))
        centres = _pip_centres(x, y, side, _EVERY_PLACE)
        shining = [
            c for c in centres if _distance(_pixel(pixels, c), PIP) < _distance(PIP, face) / 4
        ]
        found.append((colour, len(shining)))
    return found


def png_bytes(image: Image.Image) -> bytes:
    """The picture as PNG, without metadata: equal pixels, equal bytes."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _thrown(seed: int) -> tuple[Sequence[str], Sequence[int]]:
    if seed == 0:
        return DEFAULT_COLOURS, DEFAULT_PIPS
    chance = random.Random(seed)
    return chance.sample(sorted(COLOURS), 4), [chance.randint(1, 6) for _ in range(4)]


def _gradient(size: tuple[int, int], colour: tuple[int, int, int]) -> Image.Image:
    """From black above to `colour` below."""
    ramp = Image.linear_gradient("L").resize(size)
    return Image.merge(
        "RGB", [ramp.point([v * part // 255 for v in range(256)]) for part in colour]
    )


def _side(size: tuple[int, int]) -> int:
    """A die's side in pixels."""
    return min(size) * 2 // 5


def _centres(size: tuple[int, int]) -> list[tuple[int, int]]:
    width, height = size
    return [(width * i // 4, height * j // 4) for j in (1, 3) for i in (1, 3)]


def _pip_centres(
    x: int, y: int, side: int, places: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    step = side * 3 // 10
    return [(x + (column - 1) * step, y + (row - 1) * step) for column, row in places]


def _pixel(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    value = image.getpixel(place)
    assert isinstance(value, tuple)
    return tuple(int(part) for part in value)


def _distance(a: Sequence[int], b: Sequence[int]) -> int:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


@lru_cache(maxsize=256)
def picture_png(picture: Picture) -> bytes:
    """The PNG bytes of a picture; equal pictures have equal bytes."""
    return png_bytes(draw(picture.kind, (picture.width, picture.height), picture.seed))


@lru_cache(maxsize=256)
def frame_jpeg(picture: Picture) -> bytes:
    """One frame of a video as JPEG bytes; equal frames have equal bytes.

    vLLM takes a video as a sequence of such frames, every one of which it keeps.
    """
    file = io.BytesIO()
    drawn = draw(picture.kind, (picture.width, picture.height), picture.seed)
    drawn.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()
