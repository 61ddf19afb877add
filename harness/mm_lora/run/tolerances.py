"""Derives tolerance and least effect from a server's noise, and says what they cannot see.

In 16 bits two right answers to one question differ in their last bits: another cache state or
another batch adds up in another order. How much is measured on each server (`tuning`).
"""

import math
from dataclasses import dataclass

from mm_lora.run.profiles import Profile

FACTOR = 5.0
"""Tolerance over noise."""

RESERVE = 2.0
"""What an adapter's effect on the measured picture must be, over the least effect: other pictures
show less."""

STRONGEST = 16.0
"""An adapter is made at most so many times stronger: one that does nothing then is ignored."""

_MANTISSA = {"bfloat16": 7, "float16": 10}


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """The tolerances of one server, in logprob. `noise`: the largest difference between two clean
    runs, None where it is not measured. `note`: what a failure must say beside its number."""

    tolerance: float
    min_effect: float
    same: float
    noise: float | None = None
    floor: float = 0.0
    note: str = ""


def is_measured(profile: Profile) -> bool:
    """Whether the profile's tolerance is a cap for what is measured: where it computes in 16 bits.

    In 32 bits the agreement is known, and the tolerance is the profile's.
    """
    return profile.dtype in _MANTISSA


def of_profile(profile: Profile, note: str = "") -> Allowed:
    """The profile's own numbers: in 16 bits the most that is ever allowed."""
    return Allowed(
        tolerance=profile.tolerance, min_effect=profile.min_effect, same=profile.same, note=note
    )


def of_noise(profile: Profile, noise: float, largest: float) -> Allowed:
    """From the measured noise, in logprob. `largest`: |logprob| of the least likely token compared.

    The floor is one last place of that logprob in the profile's dtype: logits are rounded to it,
    so that a difference of one is rounding even where the few measured pairs show none.
    """
    floor = last_place(largest, profile.dtype)
    wanted = max(FACTOR * noise, floor)
    tolerance = min(profile.tolerance, wanted)
    note = ""
    if not FACTOR * noise <= profile.tolerance:
        note = (
            f"two clean runs of this server differ by {noise:.3g}, and {FACTOR:g} times that is "
            f"above the most that is allowed, {profile.tolerance:g}: what is near it may be noise, "
            "and so much noise may itself be a defect"
        )
    return Allowed(
        tolerance=tolerance,
        min_effect=tolerance * profile.min_effect / profile.tolerance,
        same=tolerance,
        noise=noise,
        floor=floor,
        note=note,
    )


def last_place(value: float, dtype: str) -> float:
    """The distance of two neighbouring numbers of a 16-bit dtype at the size of `value`."""
    if not (math.isfinite(value) and value):
        return 0.0
    return float(2.0 ** (math.floor(math.log2(abs(value))) - _MANTISSA[dtype]))


def factor_needed(effect: float, least: float, has: float = 1.0) -> float:
    """How many times stronger than named an adapter must be built, a power of two.

    `effect`: logprob, of the adapter that is `has` times stronger; `least`: what it must have. The
    effect grows with the strength; a factor is at least doubled, and at most STRONGEST.
    """
    if effect >= RESERVE * least or has >= STRONGEST:
        return has
    times = STRONGEST if effect <= 0 else 2.0 ** math.ceil(math.log2(RESERVE * least / effect))
    return min(STRONGEST, has * max(2.0, times))


def unseen_scale_error(effect: float, tolerance: float) -> float:
    """The largest relative error of an adapter's scale (alpha) that stays within the tolerance.

    To first order: a scale that is wrong by x moves the answer by x times the effect.
    """
    return tolerance / effect if effect > 0 else math.inf
