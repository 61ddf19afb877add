"""What becomes of a case that has ended: its verdict, the known defects, the line to repeat it."""

import shlex
from collections.abc import Sequence

import pytest

from mm_lora.checks import defects
from mm_lora.checks.judging import Judge
from mm_lora.core import skips
from mm_lora.core.errors import MmLoraError
from mm_lora.core.outcomes import NotPassed, Outcome, Verdict
from mm_lora.core.record import Run
from mm_lora.families import registry
from mm_lora.run.options import RunOptions


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
    if isinstance(error, MmLoraError):
        return Verdict(outcome=Outcome.ERROR, reason=str(error))
    place = call.excinfo.traceback[-1]
    file = str(place.path).rpartition("/")[2]
    return Verdict(
        outcome=Outcome.ERROR,
        reason=f"{type(error).__name__}: {error} ({file}:{place.lineno + 1})",
    )


def settled(
    known: Sequence[defects.Defect],
    run: Run,
    options: RunOptions,
    platform: str,
    check_id: str,
    verdict: Verdict,
) -> tuple[Outcome, str | None]:
    """The outcome with the known defects in mind; with the fixes in, none is expected."""
    version = run.vllm.get("version")
    if not version or options.with_fixes:
        return verdict.outcome, None
    return defects.settle(verdict, check_id, version, platform, known)


def repeat_line(options: RunOptions, check_id: str) -> str:
    """The command that judges this check again, alone."""
    told = all(model in (*registry.published(), "all") for model in options.model)
    without = ("only", "skip", "full", "set:shard", *(["model"] if told else []))
    kept = options.command_line(without=without)
    return shlex.join(["mm-lora", "verify", *kept, "--only", check_id])
