"""The static scan of a vLLM for people: a table for the terminal, lines for the matrix's page."""

from typing import TYPE_CHECKING

from mm_lora.serving.scan.findings import Scan, Shared, shared

if TYPE_CHECKING:
    from rich.console import RenderableType


def summary(scan: Scan) -> str:
    """`88 classes, 406 layers: 30 no-hook, …` or why there is nothing."""
    if scan.without:
        return f"not scanned: {scan.without}"
    counts = ", ".join(f"{count} {kind}" for kind, count in scan.counts.items())
    return f"{len(scan.classes)} classes, {scan.layers} layers: {counts or 'nothing found'}"


def table(scan: Scan, vllm: str) -> "RenderableType":
    """One row for each finding, with all the classes that have it; the summary below."""
    from rich.console import Group
    from rich.table import Table

    title = f"Scan of vLLM {vllm}: what adapters will miss"
    shown = Table(box=None, pad_edge=False, title=title, title_justify="left")
    for heading in ("kind", "class", "module", "what a user would notice", "made in"):
        shown.add_column(heading, overflow="fold")
    for one in shared(scan.findings):
        finding = one.finding
        classes, notice = ", ".join(one.classes), finding.notice
        shown.add_row(str(finding.kind), classes, finding.path, notice, _place(one))
    return Group(shown, "", summary(scan)) if scan.findings else Group(title, summary(scan))


def lines(scan: Scan) -> list[str]:
    """Markdown: the same as a list, with what was read."""
    found = []
    for one in shared(scan.findings):
        finding = one.finding
        classes = ", ".join(one.classes)
        where = f"{classes}: `{finding.path}`" if finding.path else classes
        place = f"{_place(one)}: {finding.evidence}" if _place(one) else "each class's own file"
        found.append(f"- {finding.kind}: {where}: {finding.notice} ({place})")
    return found


def _place(one: Shared) -> str:
    """Where it is made; nothing for several classes, each in a file of its own."""
    finding = one.finding
    alone = finding.path or len(one.classes) == 1
    name = finding.file.removeprefix("model_executor/models/")
    return f"{name}:{finding.line}" if alone else ""
