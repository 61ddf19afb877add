"""`mm_lora.verify`: what `mm-lora verify` does, for a Python program."""

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from mm_lora.core.errors import TroubleError, UsageError
from mm_lora.core.progress import Progress
from mm_lora.core.report import Report
from mm_lora.run.conductor import Conductor
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions, of_command
from mm_lora.run.runner import report_of, run_cases
from mm_lora.run.signals import Signals

Words = str | Sequence[str]
"""One word, or several."""


def verify(
    *,
    model: Words = (),
    full: bool = False,
    only: Words = (),
    skip: Words = (),
    adapter: Mapping[str, Path | str] | None = None,
    profile: str | Path = "",
    server_python: Path | str | None = None,
    reference_python: Path | str | None = None,
    base_url: str = "",
    with_fixes: bool = False,
    strict: bool = False,
    seed: int = 0,
    settings: Mapping[str, str] | None = None,
    reports: Path | str = "reports",
    show: bool = False,
) -> Report:
    """Start a real vLLM server and check it, as `mm-lora verify` does with the same options.

    `adapter`: name → PEFT folder of your own adapters. `settings`: the rarer ones, by key, each as
    `--set` takes it. `show`: what happens goes to stderr; nothing is printed otherwise. Report and
    page are in the folder `latest` of `reports` when this returns.

    A run that was begun ends with its report, whatever came of it: `outcome` and `exit_code` are
    the command's. Raises UsageError for what the command ends with 2 for, and TroubleError for
    trouble before there is a report. Ctrl-C and SIGTERM stop the servers and write the report, and
    act as ever then; of another thread than the main one they do not end the run.
    """
    options = of_command(
        {
            "model": _words(model),
            "full": full,
            "only": _words(only),
            "skip": _words(skip),
            "adapter": [f"{name}={folder}" for name, folder in (adapter or {}).items()],
            "profile": str(profile),
            "server_python": server_python,
            "reference_python": reference_python,
            "base_url": base_url,
            "with_fixes": with_fixes,
            "strict": strict,
            "seed": seed,
            "setting": [f"{key}={value}" for key, value in (settings or {}).items()],
            "reports": reports,
        }
    )
    return verified(options, Progress() if show else Progress(Console(quiet=True), quiet=True))


def verified(options: RunOptions, progress: Progress) -> Report:
    """The report of a run with these options; raises as `verify`."""
    signals = Signals()
    conductor = Conductor(Inputs.read(options), progress=progress, signals=signals)
    try:
        code = run_cases(conductor)
    finally:
        signals.restore()
    if conductor.interrupted is not None:
        signal.raise_signal(conductor.interrupted - 128)
    report, fatal = report_of(conductor), conductor.fatal
    if fatal is not None and (report is None or isinstance(fatal, UsageError)):
        raise fatal
    if report is None:
        if code == pytest.ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        raise TroubleError("the cases could not be run", "what pytest says on stderr")
    return report


def _words(told: Words) -> Sequence[str]:
    return [told] if isinstance(told, str) else told
