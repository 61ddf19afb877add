"""Runs pytest over cases/ for the command line, and shows what it would run."""

import os
import sys
from contextlib import closing

import pytest

from mm_lora.core.errors import ExitCode, TroubleError
from mm_lora.core.journal import read_report
from mm_lora.core.progress import Progress
from mm_lora.core.resources import cases_dir
from mm_lora.report import github
from mm_lora.report.terminal import Talk, render, wide_console
from mm_lora.report.view import View
from mm_lora.run.builds import Builds
from mm_lora.run.conductor import Conductor
from mm_lora.run.dry_run import DryRun
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions
from mm_lora.run.pytest_plugin import Handed

# Our progress and report take the place of pytest's; a user's pytest configuration is not ours.
_QUIET = ("-s", "-p", "no:terminal", "-p", "no:cacheprovider")


def run_cases(conductor: Conductor, *extra: str) -> int:
    """What pytest ended with; it has said on stderr what is wrong with its cases, if anything."""
    cases = cases_dir()
    os.environ.pop("PYTEST_ADDOPTS", None)
    # Nor are plugins that happen to be installed: those of anyio and hypothesis, which come with
    # vLLM and with our tests, took a third of `list`.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    arguments = [str(cases), "-c", str(cases / "pytest.ini"), *_QUIET, *extra]
    return int(pytest.main(arguments, plugins=[Handed(conductor)]))


def run_checks(options: RunOptions, talk: Talk = Talk.SCREEN) -> int:
    """Run the checks and print what they came to; returns the exit code."""
    progress = Progress(quiet=talk is Talk.QUIET)
    conductor = Conductor(Inputs.read(options), progress=progress)
    code = run_cases(conductor)
    told = False
    if conductor.context is not None:
        folder = conductor.context.folder.path
        if (folder / "report.json").is_file():
            report = read_report(folder)
            view = View(report=report)
            render(view, wide_console(), str(folder), talk)
            github.tell(view, os.environ)
            told = report.note == str(conductor.fatal)
    if conductor.fatal is not None and not told:
        print(f"mm-lora: {conductor.fatal}", file=sys.stderr)
    elif conductor.context is None:  # pytest has said why; its own codes are not ours
        return ExitCode.SIGINT if code == pytest.ExitCode.INTERRUPTED else ExitCode.ERROR
    return code


def planned(options: RunOptions) -> Conductor:
    """What these options would run, arranged and not begun. Raises what forbids it."""
    conductor = Conductor(Inputs.read(options))
    code = run_cases(conductor, "--collect-only")
    if conductor.fatal is not None:
        raise conductor.fatal
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise TroubleError("the cases could not be collected", "what pytest says above")
    return conductor


def show_plan(options: RunOptions) -> int:
    """`--dry-run`: servers, adapters, checks and the time that they took elsewhere."""
    conductor = planned(options)
    with closing(Builds(conductor.inputs, lambda line: print(line, file=sys.stderr))) as builds:
        for line in DryRun(conductor.inputs, builds).lines(conductor.plan):
            print(line)
    return ExitCode.PASS


def list_checks(options: RunOptions) -> int:
    """Print the checks that these options select, with the server of each."""
    plan = planned(options).plan
    for check in plan.checks:
        spec = plan.server_of(check.id)
        print(f"{check.id}\t{spec.label if spec else '-'}\t{check.title}")
    print(f"{len(plan.checks)} checks, {len(plan.specs)} servers", file=sys.stderr)
    return ExitCode.PASS if plan.checks else ExitCode.ERROR
