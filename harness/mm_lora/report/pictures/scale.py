"""A logarithmic scale: where a value lies, in percent of the width, and where its ticks are.

A linear scale shows either that 1e-6 agrees or that 0.1 does not; this one shows both.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

FEW = 6
"""More ticks than this do not fit beside each other on a telephone."""


@dataclass(frozen=True)
class LogScale:
    """From `least` to `most`, both powers of ten."""

    least: float
    most: float

    @classmethod
    def around(cls, values: Iterable[float]) -> "LogScale":
        """Wide enough for all positive and finite `values`, with room on both ends."""
        powers = [math.log10(v) for v in values if v > 0 and math.isfinite(v)] or [0.0]
        return cls(10.0 ** (math.floor(min(powers)) - 1), 10.0 ** (math.ceil(max(powers)) + 1))

    def at(self, value: float) -> float:
        """Percent of the width; what is off the scale, or not finite, sits on its end."""
        if not math.isfinite(value):
            return 100.0
        inside = min(max(value, self.least), self.most)
        return round(100 * math.log10(inside / self.least) / self._decades, 2)

    @property
    def _decades(self) -> float:
        return math.log10(self.most / self.least)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(percent, label) at powers of ten, the ends left out."""
        first, last = round(math.log10(self.least)), round(math.log10(self.most))
        step = math.ceil((last - first) / FEW)
        return [(self.at(10.0**p), f"1e{p}") for p in range(first + 1, last) if not p % step]
