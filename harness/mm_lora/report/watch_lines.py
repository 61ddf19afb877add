"""A pass over a running server for people: a line for each adapter, then what went wrong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mm_lora.checks.watching.findings import UNKNOWN, Finding, Pass
from mm_lora.core.outcomes import WORST_FIRST, Outcome, run_outcome
from mm_lora.core.styles import STYLES, SYMBOLS
from mm_lora.report.text import clock, number

if TYPE_CHECKING:
    from rich.text import Text


def rendered(one: Pass) -> "Iterator[Text]":
    """Lines with colours."""
    from rich.text import Text

    count = len(one.adapters)
    vllm = f"vLLM {one.vllm or 'unknown'}"
    yield Text(
        f"{one.base_url}: {vllm}, base {one.base or 'unknown'}, "
        f"{count} adapter{'' if count == 1 else 's'}"
    )
    if one.tolerance is not None:
        asked = "with text and with a picture" if one.pictures else "with text"
        yield Text(
            f"asked {asked}, {one.requests} requests in {clock(one.duration_s)}; in logprob: noise "
            f"{number(one.noise)}, tolerance {number(one.tolerance)}, "
            f"least effect {number(one.min_effect)}",
            style="dim",
        )
    for note in one.notes:
        yield Text(f"note: {note}", style="dim")
    for adapter in one.adapters:
        yield from _adapter(adapter, one.of(adapter))
    if one.trouble:
        yield Text(f"trouble: {one.trouble}", style=STYLES[Outcome.ERROR])
    elif not one.adapters:
        yield Text("the server lists no adapters: nothing was judged", style=STYLES["empty"])
    else:
        for unknown in UNKNOWN:
            yield Text(f"not known from outside: {unknown}", style="dim")
    yield Text(f"{run_outcome(one.exit_code)} (exit code {int(one.exit_code)})", style="bold")


def _adapter(name: str, findings: list[Finding]) -> "Iterator[Text]":
    from rich.text import Text

    outcomes = {finding.outcome for finding in findings}
    worst = next((one for one in WORST_FIRST if one in outcomes), Outcome.ERROR)
    line = Text(f"{SYMBOLS[worst]} {name}", style=STYLES[worst])
    told = [f"{one.check} {number(one.difference)}".rstrip() for one in findings]
    line.append(f"  {', '.join(told) or 'not judged'}", style="not bold dim")
    yield line
    for one in findings:
        if one.reason:
            mark = f"  {SYMBOLS[one.outcome]} {one.check}: "
            yield Text(mark, style=STYLES[one.outcome]).append(one.reason, style="not bold default")
