"""Turns the end of a case into a verdict, and tells pytest."""

import pytest

from mm_lora.checks.judging import Judge
from mm_lora.core import skips
from mm_lora.core.errors import MmLoraError, ServerDied, ServerGivenUp
from mm_lora.core.outcomes import NotPassed, Outcome, Verdict
from mm_lora.core.record import Check


def verdict_of(judge: Judge | None, call: pytest.CallInfo[None]) -> Verdict:
    """What a case came to: its verdicts, or what ended it."""
    if call.excinfo is None:
        return judge.verdict() if judge else Verdict(outcome=Outcome.ERROR, reason="judged nothing")
    error = call.excinfo.value
    if isinstance(error, NotPassed):
        return error.verdict
    if isinstance(error, skips.NotApplicable):
        return Verdict(outcome=Outcome.SKIP, reason=str(error))
    if isinstance(error, pytest.skip.Exception):
        return Verdict(outcome=Outcome.SKIP, reason=str(error.msg))
    if isinstance(error, ServerGivenUp):
        died = f"how: crash\n{error.log_tail[-1500:]}"
        return Verdict(outcome=Outcome.ERROR, observed=died, reason=str(error))
    if isinstance(error, ServerDied) and error.starting and error.by_signal is None:
        said = error.log_tail[-1500:]
        return Verdict(outcome=Outcome.ERROR, observed=said, reason=f"how: start; {error}")
    if isinstance(error, MmLoraError):
        return Verdict(outcome=Outcome.ERROR, reason=str(error))
    place = call.excinfo.traceback[-1]
    file = str(place.path).rpartition("/")[2]
    return Verdict(
        outcome=Outcome.ERROR,
        reason=f"{type(error).__name__}: {error} ({file}:{place.lineno + 1})",
    )


def tell(report: pytest.TestReport, item: pytest.Item, check: Check) -> None:
    """Let pytest's own report say what the check's outcome is, where it would say otherwise."""
    if check.outcome is Outcome.ERROR and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = check.reason
    if check.outcome is Outcome.SKIP:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, check.reason)
    if check.outcome is Outcome.KNOWN_DEFECT:
        report.outcome = "skipped"
        report.wasxfail = f"known defect {check.defect}"
