"""A sound to count, as a processor loads it, and its token flow."""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_lora.core import asking
from mm_lora.core.errors import UsageError
from mm_lora.families.flow import Flow


def require_sound(medium: asking.Encoded, title: str) -> asking.Sound:
    """Raises UsageError for what is seen; `title`: the family's."""
    if not isinstance(medium, asking.Sound):
        raise UsageError(f"{title} takes sounds alone", "the medium")
    return medium


def flow_of(
    sound: asking.Sound,
    *,
    rows: Mapping[str, int],
    tokens: int,
    details: Mapping[str, int],
    markers: int = 0,
    units: int = 1,
) -> Flow:
    """A sound's flow; `markers`: tokens of the prompt around its placeholders. See `Flow`."""
    return Flow(
        name=f"{sound.samples / sound.rate:.2f} s",
        size=(sound.samples, sound.rate),
        rows=rows,
        tokens=tokens,
        prompt_tokens=tokens + markers,
        units=units,
        medium="audio",
        details=details,
        measures=("samples", "rate"),
    )


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
