"""One check's error, effect and tolerance on a logarithmic number line."""

import math
from dataclasses import dataclass

from mm_lora.core.record import Check, Smallest
from mm_lora.report.pictures.scale import LogScale


@dataclass(frozen=True)
class NumberLine:
    """Places in percent; `effect` None where the check has none. `words` says the same."""

    error: float
    tolerance: float
    effect: float | None
    ticks: list[tuple[float, str]]
    within: bool
    words: str


def number_line(check: Check | Smallest) -> NumberLine | None:
    """None for a check that compared no numbers."""
    error, tolerance = check.error, check.tolerance
    effect = check.effect if isinstance(check, Check) else None
    if error is None or not tolerance:
        return None
    scale = LogScale.around([error, tolerance, effect or 0.0])
    return NumberLine(
        error=scale.at(error),
        tolerance=scale.at(tolerance),
        effect=None if effect is None else scale.at(effect),
        ticks=scale.ticks,
        within=error <= tolerance,
        words=_words(error, tolerance, effect),
    )


def _words(error: float, tolerance: float, effect: float | None) -> str:
    times = f"{error / tolerance:.3g} × the tolerance {tolerance:.3g}"
    said = f"error {error:.3g}, {times}" if math.isfinite(error) else "the error is not finite"
    return said if effect is None else f"{said}; the adapter's effect is {effect:.3g}"
