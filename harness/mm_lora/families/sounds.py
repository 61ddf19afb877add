"""A sound to count, as a processor loads it."""

from dataclasses import dataclass

from mm_lora.core import asking


@dataclass(frozen=True)
class Clip:
    """A sound of so many `samples`, `rate` in a second. `shows`: why it is in the list."""

    name: str
    samples: int
    rate: int = 16000
    shows: str = ""

    @property
    def seen_size(self) -> tuple[int, int]:
        """(samples, rate): nothing is turned or cut."""
        return self.samples, self.rate

    @property
    def asked(self) -> asking.Sound:
        """The sound as a request has it."""
        return asking.Sound(samples=self.samples, rate=self.rate)
