"""Runs pytest over cases/ for the command line, and shows what it would run."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mm_lora.core.errors import ExitCode, TroubleError
from mm_lora.core.journal import read_report
from mm_lora.core.progress import Progress
from mm_lora.core.report import Report
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
# `unraisableexception` would collect garbage five times at the end of each run.
_WITHOUT = ("terminal", "cacheprovider", "unraisableexception")
_QUIET = ("-s", *(word for name in _WITHOUT for word in ("-p", f"no:{name}")))

_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")


def run_cases(conductor: Conductor, *extra: str, watching: Sequence[object] = ()) -> int:
    """What pytest ended with; it has said on stderr what is wrong with its cases, if anything.

    `watching`: further plugins.
    """
    cases = cases_dir()
    arguments = [str(cases), "-c", str(cases / "pytest.ini"), *_QUIET, *extra]
    with _own_pytest(cases):
        return int(pytest.main(arguments, plugins=[Handed(conductor), *watching]))


@contextmanager
def _own_pytest(cases: Path) -> Iterator[None]:
    """A pytest without the user's options and plugins, which leaves no trace in a caller's process.

    Those of anyio and hypothesis, which come with vLLM and with our tests, took a third of `list`.
    A caller may have modules that are called as the cases are, such as tests of its own.
    """
    names = {file.stem for file in cases.glob("*.py")}
    theirs = {name: sys.modules.pop(name) for name in names & sys.modules.keys()}
    told = {name: os.environ.pop(name, None) for name in _VARIABLES}
    path = sys.path.copy()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        for name in names & sys.modules.keys():
            del sys.modules[name]
        sys.modules.update(theirs)
        sys.path[:] = path
        for name, value in told.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def report_of(conductor: Conductor) -> Report | None:
    """The report of a run that ended, as it is stored; None where there is none."""
    if conductor.context is None:
        return None
    folder = conductor.context.folder.path
    return read_report(folder) if (folder / "report.json").is_file() else None


def run_checks(options: RunOptions, talk: Talk = Talk.SCREEN) -> int:
    """Run the checks and print what they came to; returns the exit code."""
    progress = Progress(quiet=talk is Talk.QUIET)
    conductor = Conductor(Inputs.read(options), progress=progress)
    code = run_cases(conductor)
    told, report = False, report_of(conductor)
    if conductor.context is not None and report is not None:
        view = View(report=report)
        render(view, wide_console(), str(conductor.context.folder.path), talk)
        github.tell(view, os.environ)
        told = report.note == str(conductor.fatal)
    if conductor.fatal is not None and not told:
        print(f"mm-lora: {conductor.fatal}", file=sys.stderr)
    elif conductor.context is None:  # pytest has said why; its own codes are not ours
        return ExitCode.SIGINT if code == pytest.ExitCode.INTERRUPTED else ExitCode.ERROR
    return code


def planned(options: RunOptions) -> Conductor:
    """What these options would run, arranged and not begun. Raises what forbids it."""
    return arranged(Inputs.read(options))


def arranged(inputs: Inputs, *watching: object) -> Conductor:
    """The same of inputs that were read; `watching`: further plugins of pytest's."""
    conductor = Conductor(inputs)
    code = run_cases(conductor, "--collect-only", watching=watching)
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
