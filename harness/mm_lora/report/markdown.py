"""The report as Markdown, to paste into a pull request: the verdict first, the rest folded.

GitHub shows a `<details>` closed, so that the whole document is one screen. It has fewer than
`MOST_LINES` lines, whatever the run: what does not fit is in report.html.
"""

import shlex
from collections.abc import Iterator, Sequence

from mm_lora.core.record import Check, MetDefect
from mm_lora.core.styles import SYMBOLS
from mm_lora.core.table import Table
from mm_lora.report import text
from mm_lora.report.view import Cause, View

MOST_LINES = 60
_CAUSES, _DEFECTS, _LIMITS, _FLOWS = 3, 5, 4, 6


def render(view: View) -> str:
    """The whole document."""
    report = view.report
    lines = [
        f"## {SYMBOLS[view.outcome]} mm-lora: {view.outcome}",
        "",
        " ".join([_safe(view.verdict), *(f"{_safe(line)}." for line in view.vllm_lines)]),
    ]
    if view.seeded:
        lines.append(f"**Defects were seeded on purpose:** {_codes(view.seeded)}")
    if report.note:
        lines.append(_safe(report.note))
    lines.append("")
    for cause in view.causes[:_CAUSES]:
        lines += _cause(cause)
    if len(view.causes) > _CAUSES:
        lines.append(f"- and {len(view.causes) - _CAUSES} more causes in report.html")
    lines += ["", *_groups(view), ""] if view.causes else [*_groups(view), ""]
    lines += _folded(
        f"{len(view.defects)} known defects", [_defect(one) for one in view.defects], _DEFECTS
    )
    lines += _folded("What is not proved", [f"- {_safe(one)}" for one in view.not_proved], _LIMITS)
    if table := report.tables.get("token-flow"):
        lines += _folded("Token flow", list(_table(table)), _FLOWS)
    lines += [
        "",
        f"`{shlex.join(report.argv)}` · profile {report.profile} · seed {report.seed} "
        f"· {text.clock(report.duration_s)} · mm-lora {report.tool.version} · {report.started}",
    ]
    return "\n".join(lines) + "\n"


def _cause(cause: Cause) -> list[str]:
    """One line to see, and its first check folded: three lines in all."""
    first = cause.checks[0]
    more = f" and {len(cause.checks) - 1} more" if len(cause.checks) > 1 else ""
    return [
        f"- {SYMBOLS[cause.outcome]} **{cause.outcome}** `{first.id}`{more}: {_safe(cause.reason)}",
        f"  <details><summary>expected, observed, repeat</summary>{_values(first)}</details>",
    ]


def _values(check: Check) -> str:
    shown = [f"expected: {_code(check.expected)}", f"observed: {_code(check.observed)}"]
    if check.error is not None and check.tolerance:
        shown.append(f"error {check.error:.3g}, {check.error / check.tolerance:.3g} × tolerance")
    return "<br>".join([*shown, f"<code>{_safe(check.repeat)}</code>"])


def _groups(view: View) -> Iterator[str]:
    yield "| group | passed | largest error | least effect / tolerance |"
    yield "|---|---|---|---|"
    for one in view.proofs:
        share = f"{one.passed} of {one.judged}" if one.judged else "not judged"
        passed = f"{SYMBOLS[one.outcome]} {share}"
        yield f"| {one.group} | {passed} | {text.number(one.error)} | {text.number(one.power)} |"


def _defect(entry: MetDefect) -> str:
    upstream = f"; upstream: {', '.join(entry.upstream)}" if entry.upstream else ""
    met = f"{entry.met_by} check{'s' if entry.met_by != 1 else ''}"
    cause = f"{_safe(entry.cause)}; fixed by `{entry.fix}`" if entry.fix else _safe(entry.cause)
    return f"- `{entry.id}` ({met}): {_safe(entry.observed)}. Cause: {cause}{upstream}"


def _folded(title: str, lines: Sequence[str], most: int) -> list[str]:
    """A `<details>` of at most so many lines; nothing where there are none."""
    if not lines:
        return []
    more = [f"- {len(lines) - most} more in report.html"] if len(lines) > most else []
    return [f"<details><summary>{title}</summary>", "", *lines[:most], *more, "", "</details>"]


def _table(table: Table) -> Iterator[str]:
    yield _row(table.names)
    yield "|" + "---|" * len(table.names)
    yield from map(_row, table.shown())


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_safe(cell).replace("|", "\\|") for cell in cells) + " |"


def _codes(words: Sequence[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _code(value: object) -> str:
    return f"<code>{_safe(text.short(text.lines(value)))}</code>"


def _safe(words: str) -> str:
    """On one line, and no tag of anybody's."""
    return " ".join(words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
