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
