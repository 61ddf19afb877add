"""Runs `mm-lora mutants`: the cases over and over, with a seeded defect and without."""

import json
import sys

import pytest

from mm_lora.core.errors import ExitCode, TroubleError
from mm_lora.report import mutant_page
from mm_lora.report.terminal import wide_console
from mm_lora.run.inputs import Inputs
from mm_lora.run.mutant_conductor import MutantConductor, Wanted
from mm_lora.run.options import RunOptions
from mm_lora.run.runner import run_cases


def run_mutants(options: RunOptions, wanted: Wanted, *, as_json: bool = False) -> int:
    """Judge the mutants and print what became of each; returns the exit code."""
    conductor = MutantConductor(Inputs.read(options), wanted)
    code = run_cases(conductor)
    if conductor.context is not None:
        if as_json:
            print(json.dumps(conductor.document(), ensure_ascii=False, indent=1))
        else:
            folder = str(conductor.context.folder.path)
            mutant_page.show(conductor.summary(), wide_console(), folder)
    if conductor.fatal is not None:
        print(f"mm-lora: {conductor.fatal}", file=sys.stderr)
    elif conductor.context is None:  # pytest has said why; its own codes are not ours
        return ExitCode.SIGINT if code == pytest.ExitCode.INTERRUPTED else ExitCode.ERROR
    return code


def show_mutants(options: RunOptions, wanted: Wanted) -> int:
    """`--dry-run`: each mutant with its candidates by lane; starts nothing."""
    conductor = MutantConductor(Inputs.read(options), wanted)
    code = run_cases(conductor, "--collect-only")
    if conductor.fatal is not None:
        raise conductor.fatal
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise TroubleError("the cases could not be collected", "what pytest says above")
    for trial in conductor.book.trials.values():
        start = ", with a server of its own" if trial.patch.needs_restart else ""
        print(f"{trial.patch.id}{start}: {trial.patch.reason}")
        if trial.reason:
            print(f"  not judged: {trial.reason}")
        for lane, cases in trial.lanes.items():
            more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
            listed = trial.patch.survives.get(lane, "")
            print(f"  {lane}: {', '.join(cases[:3])}{more}" if cases else f"  {lane}: {listed}")
    print(f"{len(conductor.book.trials)} mutants, at most {len(conductor.plan.specs)} servers")
    return ExitCode.PASS
