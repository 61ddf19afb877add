"""What a run says at its end on a terminal: one screen, the verdict first; tables where wanted."""

from collections.abc import Sequence
from enum import IntEnum

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from mm_lora.core.record import MetDefect
from mm_lora.core.styles import STYLES, SYMBOLS
from mm_lora.core.table import Table as Raw
from mm_lora.report import text
from mm_lora.report.files import PAGE
from mm_lora.report.pictures.number_line import number_line
from mm_lora.report.view import Cause, View

_CAUSES = 6
_LINE = 160


class Talk(IntEnum):
    """How much is said: a line (`-q`), a screen, or the tables too (`-v`)."""

    QUIET = 0
    SCREEN = 1
    TABLES = 2


def talk_of(*, quiet: bool, verbose: bool) -> Talk:
    """What the switches ask for; the last word is `-v`'s."""
    return Talk.TABLES if verbose else Talk.QUIET if quiet else Talk.SCREEN


def wide_console() -> Console:
    """A log has no width: wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=120)


def render(view: View, console: Console, folder: str = "", talk: Talk = Talk.SCREEN) -> None:
    """Print the end of a run; `folder`: where it is stored, to be told."""
    report = view.report
    if talk is Talk.TABLES:
        _tables(view, console)
    console.print()
    style = STYLES.get(view.outcome, "")
    head = f"[{style}]{SYMBOLS[view.outcome]} {view.outcome.upper()}[/{style}]"
    console.print(f"{head}  {escape(view.verdict)}", highlight=False)
    if talk is not Talk.QUIET:
        _said(view, console)
    if report.note:
        console.print(escape(report.note), highlight=False, style="yellow")
    if talk is not Talk.QUIET:
        counts = ", ".join(f"{n} {outcome}" for outcome, n in report.counts.items())
        console.print(
            f"{counts or 'none judged'} in {text.clock(report.duration_s)} (profile "
            f"{report.profile}, exit code {report.exit_code})",
            highlight=False,
            style="dim",
        )
    if folder:
        console.print(f"report: {escape(folder)}/{PAGE}", highlight=False, soft_wrap=True)


def _said(view: View, console: Console) -> None:
    """What needs eyes, the known defects, what was not proved."""
    for line in view.vllm_lines:
        console.print(escape(line), highlight=False)
    if view.seeded:
        seeded = f"seeded on purpose: {', '.join(view.seeded)}"
        console.print(escape(seeded), highlight=False, style="yellow")
    for cause in view.causes[:_CAUSES]:
        _cause(cause, console)
    if len(view.causes) > _CAUSES:
        console.print(f"  and {len(view.causes) - _CAUSES} more causes", highlight=False)
    for entry in view.defects:
        _defect(entry, console)
    for line in view.not_proved:
        _indented(console, f"[dim]{escape(text.short(line, _LINE))}[/dim]")


def _cause(cause: Cause, console: Console) -> None:
    style, first = STYLES[cause.outcome], cause.checks[0]
    more = f" and {len(cause.checks) - 1} more" if len(cause.checks) > 1 else ""
    mark = f"[{style}]{SYMBOLS[cause.outcome]} {cause.outcome}[/{style}]"
    _indented(console, f"{mark}  {escape(first.id)}{more}")
    _indented(console, escape(cause.reason), 4)
    if found := number_line(first):
        _indented(console, f"[dim]{escape(found.words)}[/dim]", 4)
    for key in () if found else ("expected", "observed"):
        value = getattr(first, key)
        if value not in (None, []):
            shown = text.short(" ".join(text.lines(value).split()), _LINE)
            _indented(console, f"[dim]{key}[/dim] {escape(shown)}", 4)
    if first.repeat:
        console.print(f"    {escape(first.repeat)}", highlight=False, soft_wrap=True)


def _defect(entry: MetDefect, console: Console) -> None:
    """One line, which a narrow terminal folds."""
    style = STYLES["known-defect"]
    met = f"{entry.met_by} check{'s' if entry.met_by != 1 else ''}"
    mark = f"[{style}]{SYMBOLS['known-defect']}[/{style}]"
    _indented(console, f"{mark} {escape(entry.id)}, {met}: {escape(_short(entry.observed))}")


def _short(words: str) -> str:
    """To the first half stop, or as much as fits."""
    return text.short(words.partition("; ")[0].partition(". ")[0], 120)


def _indented(console: Console, markup: str, left: int = 2) -> None:
    console.print(Padding.indent(console.render_str(markup, highlight=False), left))


def _tables(view: View, console: Console) -> None:
    """Groups and the brief tables of the report."""
    console.print()
    if view.proofs:
        console.print(_groups(view))
    for table in view.report.tables.values():
        if table.rows and table.brief:
            console.print(_table(table))


def _groups(view: View) -> Table:
    table = Table(title=None, box=None, pad_edge=False, header_style="dim")
    table.add_column("group")
    outcomes = [one for one in STYLES if any(one in proof.counts for proof in view.proofs)]
    for outcome in outcomes:
        table.add_column(outcome, justify="right", style=STYLES[outcome])
    table.add_column("largest error", justify="right")
    table.add_column("smallest effect / tolerance", justify="right")
    table.add_column("seconds", justify="right")
    for proof in view.proofs:
        table.add_row(
            proof.group,
            *(str(proof.counts.get(one) or "") for one in outcomes),
            "" if proof.error is None else f"{proof.error:.1e}",
            "" if proof.power is None else f"{proof.power:.0f}",
            f"{proof.seconds:.1f}",
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


def without_repeats(cells: Sequence[str], above: Sequence[str]) -> list[str]:
    """The cells of a row, its first ones left empty as long as they say what stands above."""
    pairs = enumerate(zip(cells, above, strict=False))
    first = next((at for at, (cell, over) in pairs if cell != over), 0)
    return [""] * first + list(cells[first:])
