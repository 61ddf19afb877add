"""The report as Markdown, to paste into a pull request."""

from typing import Any

from mm_lora.core.record import Check
from mm_lora.core.report import Report
from mm_lora.core.table import Table
from mm_lora.report import defect_entries, dotplot, vllm_lines
from mm_lora.report.terminal import short


def render(report: Report) -> str:
    """The whole report as one Markdown document."""
    vllm = report.served
    counts = ", ".join(f"{n} {outcome}" for outcome, n in report.counts.items()) or "none judged"
    lines = [
        f"# mm-lora: {report.outcome}",
        "",
        f"{counts} in {report.duration_s:.1f} s · profile `{report.profile}` · "
        f"{vllm.label} · mm-lora {report.tool.version} · started {report.started}",
        "",
    ]
    said = vllm_lines.lines(vllm)
    lines += [*(f"- {line}" for line in said), ""] if said else []
    if report.defects:
        lines += ["## Known defects", ""]
    for entry in report.defects:
        lines += defect_entries.lines(entry)
    if report.limits:
        lines += ["## What this run cannot see", ""]
        lines += [*(f"- {limit}" for limit in report.limits), ""]
    for outcome in ("fail", "error", "void", "fixed-upstream"):
        mine = [check for check in report.checks if check.outcome == outcome]
        if mine:
            lines += [f"## {outcome}", ""]
        for check in mine:
            lines += _check(check)
    if dotplot.render(report):
        lines += ["![error and effect of every adapter](numerics.svg)", ""]
    for table in report.tables.values():
        if table.rows:
            lines += [f"## {table.title}", "", *_table(table), ""]
    lines += ["## Servers", ""]
    for server in report.servers:
        ready = "not ready" if server.ready_s is None else f"ready in {server.ready_s:.1f} s"
        lines += [f"- {server.label}: {ready}, start `{server.start}`, log `{server.log}`"]
        lines += [f"  - `{' '.join(server.command)}`"] if server.command else []
    lines += [
        "",
        "## All checks",
        "",
        "| check | outcome | error | effect | seconds |",
        "|---|---|---|---|---|",
    ]
    for check in report.checks:
        lines.append(
            f"| `{check.id}` | {check.outcome} | {number(check.error)} "
            f"| {number(check.effect)} | {check.duration_s:.2f} |"
        )
    return "\n".join(lines) + "\n"


def number(value: Any) -> str:
    """A measured number in three digits, or nothing."""
    return f"{value:.3g}" if isinstance(value, int | float) else str(value or "")


def _check(check: Check) -> list[str]:
    lines = [f"### `{check.id}`", "", check.title, ""]
    lines += [f"- reason: {check.reason}"] if check.reason else []
    lines += [
        f"- expected: `{short(check.expected)}`",
        f"- observed: `{short(check.observed)}`",
    ]
    return [*lines, f"- repeat: `{check.repeat}`", ""]


def _table(table: Table) -> list[str]:
    def row(cells: list[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [row(table.names), "|" + "---|" * len(table.names), *map(row, table.shown())]
