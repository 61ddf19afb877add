"""Judging, as pure functions: numbers to a verdict; verdicts to a run outcome and exit code."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from mm_lora.core.asking import Answer
from mm_lora.core.errors import ExitCode


class Outcome(StrEnum):
    """What became of one check (the words of the report)."""

    PASS = "pass"
    FAIL = "fail"
    VOID = "void"
    ERROR = "error"
    KNOWN_DEFECT = "known-defect"
    FIXED_UPSTREAM = "fixed-upstream"
    SKIP = "skip"


MEANINGS: Mapping[Outcome, str] = {
    Outcome.PASS: "the claim holds: the error is within the tolerance, and the adapter's effect is "
    "large enough to be seen",
    Outcome.FAIL: "the claim is broken: the error is above the tolerance, a number is not finite, "
    "two things differ that must be equal, or the server died of what was asked",
    Outcome.VOID: "nothing is proved: the adapter's effect is too small, or what had to happen did "
    "not",
    Outcome.ERROR: "it could not be judged: trouble with the server or the environment",
    Outcome.KNOWN_DEFECT: "it failed exactly as an entry of known_defects.toml says",
    Outcome.FIXED_UPSTREAM: "it passed where an entry says that it fails",
    Outcome.SKIP: "it does not apply here; the reason begins with a word of the list below",
}
"""What each outcome of a check says."""

RunOutcome = Literal["pass", "fail", "error", "empty"]
"""The one word for a run."""

Runs = tuple[tuple[str | None, int], ...]
"""(adapter name or None for the base, rows): consecutive rows that got the same adapter."""


@dataclass(frozen=True, kw_only=True)
class WrongRows:
    """Layers of one call whose rows did not get their own requests' adapters. `step`: for a reader;
    `seen`: rows that the layers really saw; `expected`, `mapped`: whose they are, and were taken
    for."""

    step: str
    layers: tuple[str, ...]
    seen: int
    expected: Runs
    mapped: Runs


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One judged comparison. `error`, `tolerance` and `effect` share a unit: logprob, or rows.

    `predicted_by`: named predictors of a wrong value that hit it within the tolerance.
    `wrong_rows`: what was wrong inside the layers, to be drawn.
    """

    outcome: Outcome
    expected: Any = None
    observed: Any = None
    error: float | None = None
    tolerance: float | None = None
    effect: float | None = None
    reason: str = ""
    predicted_by: tuple[str, ...] = ()
    wrong_rows: tuple[WrongRows, ...] = ()

    @property
    def is_no_start(self) -> bool:
        """Whether the server ended by its own exception before it was ready."""
        return self.reason.startswith("how: start")

    @property
    def is_crash(self) -> bool:
        """Whether the server died of what the check asked."""
        return self.reason.startswith("how: crash")


def judge_equal(expected: Any, observed: Any, reason: str = "") -> Verdict:
    """Exact comparison: counts, names, texts, bit-identical logprobs."""
    same = expected == observed
    return Verdict(
        outcome=Outcome.PASS if same else Outcome.FAIL,
        expected=expected,
        observed=observed,
        reason="" if same else reason or "observed differs from expected",
    )


def judge_claim(holds: bool, *, expected: Any, observed: Any, reason: str) -> Verdict:
    """A claim that is true or broken; `reason` says what a broken one means."""
    return Verdict(
        outcome=Outcome.PASS if holds else Outcome.FAIL,
        expected=expected,
        observed=observed,
        reason="" if holds else reason,
    )


def judge_shown(holds: bool, *, expected: Any, observed: Any, reason: str) -> Verdict:
    """What must have happened for a claim to prove anything: `void` where it did not."""
    return Verdict(
        outcome=Outcome.PASS if holds else Outcome.VOID,
        expected=expected,
        observed=observed,
        reason="" if holds else reason,
    )


LONG = 32
"""Places above which a reason tells where the wrong ones are."""


def largest_difference(a: Sequence[float], b: Sequence[float]) -> float:
    """max |a_i - b_i|; infinity where the lengths differ or anything is not finite."""
    if len(a) != len(b) or not a:
        return math.inf
    if not all(math.isfinite(v) for v in (*a, *b)):
        return math.inf
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def apart(one: Answer, other: Answer) -> float:
    """How far two answers to one question are apart: the largest logprob difference of their
    tokens, to the first place where rounding chose another one; that place's likeliest included.

    After it they answer different prompts. Infinity where one is the other's beginning, and where
    the same tokens became another text.
    """
    pairs = list(zip(one.token_ids, other.token_ids, strict=False))
    parted = next((at for at, (a, b) in enumerate(pairs) if a != b), None)
    if parted is None:
        same = one.text == other.text
        return largest_difference(one.logprobs, other.logprobs) if same else math.inf
    return largest_difference(one.logprobs[: parted + 1], other.logprobs[: parted + 1])


def moved(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """How far apart two next-token distributions are, in logprob, by their likeliest tokens.

    The same prompt went before, so that no reference is needed. The largest difference over the
    tokens that both name, and the least that it can be of a token that one names alone: to the
    other it is no likelier than the last that it names. Infinity where they have none in common.
    """
    common = a.keys() & b.keys()
    if not common:
        return math.inf
    named = (abs(a[token] - b[token]) for token in common)
    alone = (
        one[token] - min(other.values())
        for one, other in ((a, b), (b, a))
        for token in one.keys() - common
    )
    return max(*named, *alone, 0.0)


def told_apart(one: Answer, other: Answer) -> float:
    """As `apart`, and by the first place's distribution, where more than one token was asked there.

    Where an adapter changes the first token, the two likeliest may well have equal logprobs: the
    tokens that both answers name tell that from a tie.
    """
    first = one.first_logprobs(), other.first_logprobs()
    return max(apart(one, other), moved(*first) if min(map(len, first)) > 1 else 0.0)


def judge_close(
    expected: Sequence[float],
    observed: Sequence[float],
    *,
    tolerance: float,
    base: Sequence[float] | None = None,
    min_effect: float | None = None,
) -> Verdict:
    """Compare per-token logprobs of one answer.

    error = max |observed - expected|; effect = max |expected - base|, base forced on the same
    tokens. `fail` above the tolerance or when anything is not finite; `void` when the claim is that
    an adapter acts (`min_effect` given) and its effect is smaller: nothing would be proved.
    """
    error = largest_difference(expected, observed)
    effect = None if base is None else largest_difference(expected, base)
    outcome, reason = Outcome.PASS, ""
    if not error <= tolerance:
        outcome = Outcome.FAIL
        reason = f"|server - reference| = {error:.3g} is above the tolerance {tolerance:.3g}"
        if math.isinf(error):
            reason = "lengths differ or a value is not finite"
        elif len(expected) > LONG:
            apart = [abs(x - y) > tolerance for x, y in zip(expected, observed, strict=True)]
            reason += f", at {sum(apart)} of {len(apart)} places, first at {apart.index(True)}"
    elif min_effect is not None and (effect is None or effect < min_effect):
        outcome = Outcome.VOID
        shown = "unknown" if effect is None else f"{effect:.3g}"
        reason = f"the effect {shown} is below {min_effect:.3g}: agreement proves nothing"
    return Verdict(
        outcome=outcome,
        expected=list(expected),
        observed=list(observed),
        error=error,
        tolerance=tolerance,
        effect=effect,
        reason=reason,
    )


WORST_FIRST = (
    Outcome.FAIL,
    Outcome.ERROR,
    Outcome.VOID,
    Outcome.KNOWN_DEFECT,
    Outcome.FIXED_UPSTREAM,
    Outcome.PASS,
    Outcome.SKIP,
)
"""The order in which one outcome stands for several."""


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of several: the worst one, with the largest error and the least effect."""
    worst = min(verdicts, key=lambda v: WORST_FIRST.index(v.outcome))
    errors = [v.error for v in verdicts if v.error is not None]
    effects = [v.effect for v in verdicts if v.effect is not None]
    tolerances = [v.tolerance for v in verdicts if v.tolerance is not None]
    return Verdict(
        outcome=worst.outcome,
        expected=worst.expected,
        observed=worst.observed,
        error=max(errors, default=None),
        tolerance=worst.tolerance if worst.tolerance is not None else min(tolerances, default=None),
        effect=min(effects, default=None),
        reason=worst.reason,
        predicted_by=worst.predicted_by,
        wrong_rows=worst.wrong_rows,
    )


def exit_code(
    outcomes: Iterable[Outcome], *, stale: bool = False, strict: bool = False
) -> ExitCode:
    """The exit code of a run that came to its end; the first that applies (see `errors`)."""
    seen = set(outcomes)
    failing = {Outcome.FAIL} | ({Outcome.KNOWN_DEFECT} if strict else set())
    if seen & failing or stale:
        return ExitCode.FAIL
    if seen & {Outcome.ERROR, Outcome.VOID}:
        return ExitCode.ERROR
    if not seen - {Outcome.SKIP}:
        return ExitCode.EMPTY
    return ExitCode.PASS


def run_outcome(code: ExitCode) -> RunOutcome:
    """`pass`, `fail`, `error` or `empty`: the one word for a run with this exit code."""
    words: Mapping[ExitCode, RunOutcome] = {
        ExitCode.PASS: "pass",
        ExitCode.FAIL: "fail",
        ExitCode.EMPTY: "empty",
    }
    return words.get(code, "error")


class NotPassed(AssertionError):
    """A verdict of `fail` or `void` ends its case; pytest shows the reason."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(
            f"{verdict.outcome}: {verdict.reason}\n"
            f"  expected: {verdict.expected}\n  observed: {verdict.observed}"
        )
        self.verdict = verdict
