"""Decides how a check and a run end: outcome with known defects in mind, exit code, note."""

import shlex

from mm_lora.checks import defects
from mm_lora.core.errors import ExitCode, MmLoraError
from mm_lora.core.outcomes import Outcome, Verdict, exit_code
from mm_lora.core.record import Run
from mm_lora.core.report import counts_stale
from mm_lora.families import registry
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions


def outcome_of(
    inputs: Inputs, run: Run, check_id: str, verdict: Verdict
) -> tuple[Outcome, str | None]:
    """The outcome with the known defects in mind; with the fixes in, none is expected."""
    version = run.vllm.get("version")
    if not version or inputs.options.with_fixes:
        return verdict.outcome, None
    platform, mine = inputs.profile.platform, inputs.known_defects(check_id)
    return defects.with_known_defects(verdict, check_id, version, platform, mine)


def reason_of(inputs: Inputs, run: Run, check_id: str, verdict: Verdict) -> str:
    """Why a check ended as it did, with the predictor that hit; of a user's own adapter with the
    known defect that the predictor stands for, in words."""
    if not verdict.predicted_by or verdict.outcome is Outcome.PASS:
        return verdict.reason
    version, platform = run.vllm.get("version"), inputs.profile.platform
    if version and not inputs.options.with_fixes and check_id.split("/")[2] in inputs.own:
        for defect in inputs.known_defects(check_id):
            if defect.seen_in(version, platform) and defect.signature in verdict.predicted_by:
                return f"{verdict.reason}: {defect.in_words}"
    return f"{verdict.reason}, just as {verdict.predicted_by[0]} predicts"


def repeat_line(options: RunOptions, check_id: str) -> str:
    """The command that judges this check again, alone."""
    told = all(model in (*registry.published(), "all") for model in options.model)
    without = ("only", "skip", "full", "set:shard", *(["model"] if told else []))
    kept = options.command_line(without=without)
    return shlex.join(["mm-lora", "verify", *kept, "--only", check_id])


def of_run(
    run: Run,
    *,
    planned: int,
    whole: int,
    strict: bool = False,
    fatal: MmLoraError | None = None,
    interrupted: ExitCode | None = None,
) -> tuple[ExitCode, str]:
    """Exit code and note. `planned`: checks of this part of the run, `whole`: of all parts.

    `fatal`: what ended it before its time; `interrupted`: the code of the signal that did.
    """
    code = exit_code(
        (check.outcome for check in run.checks),
        stale=counts_stale(run.vllm)
        and any(check.outcome is Outcome.FIXED_UPSTREAM for check in run.checks),
        strict=strict,
    )
    judged = len(run.checks)
    if fatal is not None:
        return fatal.exit_code, str(fatal)
    if interrupted is not None:
        return interrupted, f"interrupted after {judged} of {planned} checks"
    if judged < planned:
        short = code if code is ExitCode.FAIL else max(code, ExitCode.ERROR)
        return short, f"only {judged} of {planned} checks were judged"
    if not planned and whole:
        return ExitCode.PASS, "no server falls into this shard"
    return code, run.note
