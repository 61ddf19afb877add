"""A picture file as a processor loads it: stored size, mode, and the turn that EXIF says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from mm_lora.core import asking

UPRIGHT = 1
"""EXIF orientation 1: shown as stored."""

TURNED = 6
"""EXIF orientation 6: a viewer turns it by a quarter, so that width and height change places."""


@dataclass(frozen=True)
class Picture:
    """A picture to count: stored as `width` × `height` pixels, Pillow `mode`, EXIF `orientation`.

    `shows` says in a few words why it is in the list.
    """

    name: str
    width: int
    height: int
    mode: str = "RGB"
    orientation: int = UPRIGHT
    shows: str = ""

    @property
    def seen_size(self) -> tuple[int, int]:
        """(width, height) after the EXIF orientation was applied, as loaders do."""
        turned = self.orientation >= 5
        return (self.height, self.width) if turned else (self.width, self.height)

    @property
    def asked(self) -> asking.Picture:
        """The picture as a request has it."""
        width, height = self.seen_size
        return asking.Picture(width=width, height=height)


Asked = TypeVar("Asked")


def prompts(
    single: Mapping[str, Asked], together: Sequence[Sequence[str]]
) -> list[tuple[Asked, ...]]:
    """Every picture alone, then those of several names in one prompt."""
    several = (tuple(single[name] for name in names) for names in together)
    return [*((picture,) for picture in single.values()), *several]


def by_size(*sizes: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Sizes in pixels, each named by itself: `700x400`."""
    return {f"{width}x{height}": (width, height) for width, height in sizes}


def questions(
    sizes: Mapping[str, tuple[int, int]],
    together: Sequence[Sequence[str]],
    *,
    gray: tuple[int, int],
    rgba: tuple[int, int],
    turned: tuple[int, int] = (300, 100),
) -> list[tuple[Picture, ...]]:
    """Every size alone, a picture without colours, one with an alpha channel and one that EXIF
    turns, by these names; then those of several names in one prompt."""
    seen = {name: Picture(name, *size) for name, size in sizes.items()}
    seen["gray"] = Picture("gray", *gray, mode="L")
    seen["rgba"] = Picture("rgba", *rgba, mode="RGBA")
    seen["turned"] = Picture("turned", *turned, orientation=TURNED)
    return prompts(seen, together)
