"""Runs pytest over cases/ for the command line, and shows what it would run."""

import os
import sys

import pytest

from mm_lora.core.errors import ExitCode
from mm_lora.core.journal import read_report
from mm_lora.core.resources import cases_dir
from mm_lora.families.models import resolve
from mm_lora.report.terminal import render, wide_console
from mm_lora.run import pytest_plugin
from mm_lora.run.context import selected_models
from mm_lora.run.dry_run import DryRun
from mm_lora.run.options import RunOptions
from mm_lora.run.profiles import load

# Our progress and report take the place of pytest's; a user's pytest configuration is not ours.
_QUIET = ("-s", "-p", "no:terminal", "-p", "no:cacheprovider")


class _Keeper:
    """Keeps the session's state for the caller of pytest.main."""

    state: pytest_plugin.State | None = None

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Called after the plugin has made its state."""
        self.state = config.stash.get(pytest_plugin.STATE, None)


def _pytest(options: RunOptions, *extra: str) -> tuple[int, pytest_plugin.State | None]:
    profile = load(options.profile)
    selected_models(options, profile)
    keeper = _Keeper()
    cases = cases_dir()
    words = [word for pair in options.words() for word in ("--mm", pair)]
    os.environ.pop("PYTEST_ADDOPTS", None)
    # Nor are plugins that happen to be installed: those of anyio and hypothesis, which come with
    # vLLM and with our tests, took a third of `list`.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    arguments = [str(cases), "-c", str(cases / "pytest.ini"), *_QUIET, *extra, *words]
    code = pytest.main(arguments, plugins=[keeper])
    return int(code), keeper.state


def run_checks(options: RunOptions) -> int:
    """Run the checks and print the summary; returns the exit code."""
    code, state = _pytest(options)
    if state is None:
        return 2
    told = False
    if state.context is not None and (state.context.folder.path / "report.json").is_file():
        folder = state.context.folder.path
        report = read_report(folder)
        render(report, wide_console(), str(folder))
        told = report.note == str(state.fatal)
    if state.fatal is not None and not told:
        print(f"mm-lora: {state.fatal}", file=sys.stderr)
    elif state.context is None and code == pytest.ExitCode.INTERRUPTED:
        return ExitCode.SIGINT
    return code


def planned(options: RunOptions) -> pytest_plugin.State | None:
    """What these options would run; None where pytest has already said what is wrong with them."""
    _, state = _pytest(options, "--collect-only")
    if state is not None and state.fatal is not None:
        raise state.fatal
    return state


def show_plan(options: RunOptions) -> int:
    """`--dry-run`: servers, adapters, checks and the time that they took elsewhere."""
    state = planned(options)
    if state is None:
        return ExitCode.USAGE
    models = {model.name: model for model in selected_models(options, state.profile)}
    for spec in state.plan.specs:
        if spec.model not in models:
            models[spec.model] = resolve(spec.model)
    for line in DryRun(options, state.profile, models, state.own).lines(state.plan):
        print(line)
    return ExitCode.PASS


def list_checks(options: RunOptions) -> int:
    """Print the checks that these options select, with the server of each."""
    code, state = _pytest(options, "--collect-only")
    if state is None:
        return 2
    if state.fatal is not None:
        print(f"mm-lora: {state.fatal}", file=sys.stderr)
        return int(state.fatal.exit_code)
    for planned in state.plan.checks:
        spec = state.plan.server_of(planned.id)
        print(f"{planned.id}\t{spec.label if spec else '-'}\t{planned.title}")
    print(f"{len(state.plan.checks)} checks, {len(state.plan.specs)} servers", file=sys.stderr)
    return 0 if code == 0 else 3
