"""Turns a scenario into a verdict: every answer is right, and the requests really shared a step."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mm_lora.checks.context import Context
from mm_lora.checks.isolation.table import add_row
from mm_lora.checks.isolation.traffic import Seen, Traffic
from mm_lora.checks.judging import Judge
from mm_lora.core.asking import Request

MET: Mapping[str, int] = {"encoder": 1, "language": 1}
"""What a mixed batch has to have had, by the fields of Batches."""

Burst = tuple[Sequence[Request], Sequence[float]]
"""Requests, and the seconds that each of them waits."""


def until_met(
    traffic: Traffic,
    bursts: Iterable[Burst],
    least: Mapping[str, int] = MET,
    *,
    in_line: bool = False,
) -> Seen:
    """Burst after burst, until an answer is wrong or what has to be seen was seen.

    When requests arrive is up to the machine, so that one burst may be too slow to be a batch.
    """
    seen = Seen()
    for requests, delays in bursts:
        seen += traffic.burst(requests, delays=delays, in_line=in_line)
        if seen.unexplained or not seen.batches.lacks(least):
            break
    return seen


def judge_scenario(
    check: Judge,
    context: Context,
    scenario: str,
    seen: Seen,
    least: Mapping[str, int] | None = None,
    hint: str = "",
) -> None:
    """The row of the table, then the verdict, with a `hint` for who has to look at a failure.

    It is `void` where `least` was not seen.
    """
    add_row(context, scenario, seen)
    verdict = seen.verdict(tolerance=check.tolerance, min_effect=check.min_effect)
    if hint:
        verdict = replace(verdict, reason=f"{verdict.reason}; {hint}")
    check.take(verdict)
    if least:
        lacks = seen.batches.lacks(least)
        check.proves(
            not lacks,
            expected=dict(least),
            observed=lacks,
            reason="the requests did not share a step as the claim requires",
        )
