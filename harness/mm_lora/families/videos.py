"""A video to count, of a family that takes no pictures."""

from dataclasses import dataclass

from mm_lora.core import asking


@dataclass(frozen=True)
class Clip:
    """A video of so many `frames`, each a square of `side` pixels. `shows`: why it is listed."""

    name: str
    frames: int
    side: int
    shows: str = ""

    @property
    def seen_size(self) -> tuple[int, int]:
        """(frames, side): every frame is kept."""
        return self.frames, self.side

    @property
    def asked(self) -> asking.Video:
        """The video as a request has it."""
        return asking.Video(width=self.side, height=self.side, frames=self.frames)
