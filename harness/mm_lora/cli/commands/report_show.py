"""`mm-lora report show` and `report diff`: stored runs on the terminal."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape

from mm_lora.core.errors import ExitCode
from mm_lora.core.journal import read_report
from mm_lora.core.run_folder import RunFolder, find_run
from mm_lora.core.styles import STYLES
from mm_lora.report import files
from mm_lora.report.diff import compare
from mm_lora.report.matrix_rows import Changed
from mm_lora.report.terminal import Talk, render, wide_console
from mm_lora.report.view import View


def show(name: str, reports: Path, talk: Talk = Talk.SCREEN) -> int:
    """Print the end of a stored run; 0, whatever its outcome. Raises UsageError."""
    folder = find_run(name, reports)
    render(View(report=read_report(folder)), wide_console(), str(folder), talk)
    return ExitCode.PASS


def write_page(name: str, reports: Path) -> int:
    """Write the page of a stored run, one that was killed too, into its folder. Raises UsageError
    for no run, ReportError where the folder cannot be written."""
    folder = find_run(name, reports)
    files.write(RunFolder(folder), read_report(folder))
    print(folder / files.PAGE)
    return ExitCode.PASS


def diff(first: str, second: str, reports: Path) -> int:
    """Print what the second run says differently; 1 when a check ended well only in the first."""
    console = wide_console()
    found = compare(*(read_report(find_run(name, reports)) for name in (first, second)))
    for name, before, after in found.places:
        console.print(f"{name}: {escape(before)} → {escape(after)}", highlight=False)
    for one in found.changed:
        _print_changed(one, console)
    for moved in found.moved:
        console.print(
            f"error {moved.before:.1e} → {moved.after:.1e} (tolerance {moved.tolerance:.1e})  "
            f"{escape(moved.id)}",
            highlight=False,
        )
    if not (found.changed or found.moved):
        console.print("Every check ended alike, with errors within a tenth of its tolerance.")
    return ExitCode.FAIL if found.worse else ExitCode.PASS


def _print_changed(one: Changed, console: Console) -> None:
    sides = [f"[{STYLES[o]}]{o}[/{STYLES[o]}]" if o else "absent" for o in (one.before, one.after)]
    console.print(f"{sides[0]} → {sides[1]}  {escape(one.id)}", highlight=False)
