"""The terminal summary of a report: the outcome first, then what needs eyes, then the tables."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mm_lora.core.record import Check, MetDefect
from mm_lora.core.report import Report
from mm_lora.core.styles import STYLES
from mm_lora.core.table import Table as Raw
from mm_lora.report import vllm_lines


def wide_console() -> Console:
    """A log has no width: wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def render(report: Report, console: Console, folder: str = "") -> None:
    """Print the summary of a run; `folder`: where it is stored, to be told."""
    console.print()
    for check in report.checks:
        if check.outcome in ("fail", "void", "error", "fixed-upstream"):
            _print_check(check, console)
    for entry in report.defects:
        _print_defect(entry, console)
    if report.checks:
        console.print(_by_group(report.checks))
    for table in report.tables.values():
        if table.rows and table.brief:
            console.print(_table(table))
    vllm = report.served
    counts = ", ".join(f"{n} {outcome}" for outcome, n in report.counts.items()) or "none judged"
    style = STYLES.get(report.outcome, "")
    console.print(
        f"[{style}]{report.outcome.upper()}[/{style}]  {counts}  in {report.duration_s:.1f} s"
        f"  (profile {report.profile}, {vllm.label}, exit code {report.exit_code})",
        highlight=False,
    )
    for line in vllm_lines.lines(vllm):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for limit in report.limits:
        console.print(f"cannot see: {escape(limit)}", highlight=False, style="dim", soft_wrap=True)
    if report.note:
        console.print(escape(report.note), highlight=False, style="yellow")
    if folder:
        console.print(f"report: {escape(folder)}", highlight=False, soft_wrap=True)


def _print_check(check: Check, console: Console) -> None:
    style = STYLES[check.outcome]
    console.print(f"[{style}]{check.outcome}[/{style}]  {escape(check.id)}", highlight=False)
    console.print(f"    {escape(check.title)}", highlight=False, style="dim")
    if check.reason:
        console.print(f"    {escape(str(check.reason))}", highlight=False)
    if check.outcome in ("fail", "void"):
        for key in ("expected", "observed"):
            console.print(f"    {key}: {escape(short(getattr(check, key)))}", highlight=False)
    if check.repeat:
        console.print(f"    repeat: {escape(check.repeat)}", highlight=False, soft_wrap=True)


def _print_defect(entry: MetDefect, console: Console) -> None:
    style = STYLES["known-defect"]
    head = f"[{style}]known defect[/{style}]  {escape(entry.id)}, met by {entry.met_by} checks"
    console.print(head, highlight=False)
    smallest = entry.smallest
    for line in (entry.cause, f"smallest: {smallest.title}", f"repeat: {smallest.repeat}"):
        console.print(f"    {escape(line)}", highlight=False, soft_wrap=True)


def short(value: Any, limit: int = 300) -> str:
    """A value on one line, cut in the middle when it is long."""
    text = str(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"


def _by_group(checks: Sequence[Check]) -> Table:
    table = Table(title=None, box=None, pad_edge=False, header_style="dim")
    table.add_column("group")
    outcomes = [o for o in STYLES if any(c.outcome == o for c in checks)]
    for outcome in outcomes:
        table.add_column(outcome, justify="right", style=STYLES[outcome])
    table.add_column("largest error", justify="right")
    table.add_column("smallest effect / tolerance", justify="right")
    table.add_column("seconds", justify="right")
    for group in dict.fromkeys(check.group for check in checks):
        mine = [check for check in checks if check.group == group]
        counts = [sum(c.outcome == o for c in mine) for o in outcomes]
        errors = [c.error for c in mine if c.error is not None]
        powers = [c.effect / c.tolerance for c in mine if c.effect is not None and c.tolerance]
        table.add_row(
            group,
            *(str(n or "") for n in counts),
            f"{max(errors):.1e}" if errors else "",
            f"{min(powers):.0f}" if powers else "",
            f"{sum(c.duration_s for c in mine):.1f}",
        )
    return table


def _table(table: Raw) -> Table:
    shown = Table(title=table.title, title_justify="left", header_style="dim", box=None)
    for place, name in enumerate(table.names):
        shown.add_column(name, overflow="fold", no_wrap=place == 0)
    above: list[str] = []
    for cells in table.shown():
        shown.add_row(*map(escape, without_repeats(cells, above)))
        above = cells
    return shown


def without_repeats(cells: list[str], above: list[str]) -> list[str]:
    """The cells of a row, its first ones left empty as long as they say what stands above."""
    pairs = enumerate(zip(cells, above, strict=False))
    first = next((at for at, (cell, over) in pairs if cell != over), 0)
    return [""] * first + cells[first:]
