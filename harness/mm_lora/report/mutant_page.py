"""A run of mutants for people: results by lane, and the table mutant by check."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

MARKS = {"fail": "X", "pass": "·", "void": "void", "error": "error", "skip": "skip"}
LEGEND = "X: the check fails of the mutant; ·: it passes all the same; empty: not judged"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One mutant in one lane. `outcomes`: check → what it came to under the mutant."""

    id: str
    result: str
    how: str = ""
    reason: str = ""
    toggled: bool = True
    duration_s: float | None = None
    outcomes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LaneSummary:
    """A lane's mutants. `failed_clean`: checks that do not pass without a mutant."""

    name: str
    rows: Sequence[Row]
    failed_clean: Sequence[str] = ()

    @property
    def counts(self) -> str:
        """In words, crashes and failed starts apart."""
        killed = [row for row in self.rows if row.result == "killed"]
        words = {
            "killed": sum(row.how == "numbers" for row in killed),
            "by crash": sum(row.how == "crash" for row in killed),
            "by a start that failed": sum(row.how == "start" for row in killed),
            "survived": sum(row.result == "survived" for row in self.rows),
            "not judged": sum(row.result == "not-judged" for row in self.rows),
        }
        always = ("killed", "survived", "by crash")
        return ", ".join(f"{n} {word}" for word, n in words.items() if n or word in always)

    @property
    def checks(self) -> list[str]:
        """Those that killed a mutant, in the order in which they did."""
        found = (c for row in self.rows for c, end in row.outcomes.items() if end == "fail")
        return list(dict.fromkeys(found))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A run. `start_s`: the median time to a ready server, None if none was started."""

    lanes: Sequence[LaneSummary]
    start_s: float | None = None

    @property
    def speed(self) -> str:
        """What a toggled mutant costs, control included, in server starts."""
        rows = {row.id: row for lane in self.lanes for row in lane.rows if row.toggled}
        took = [row.duration_s for row in rows.values() if row.duration_s is not None]
        if not took or not self.start_s:
            return ""
        median = statistics.median(took)
        return (
            f"a toggled mutant takes {median:.1f} s (median of {len(took)}), "
            f"{median / self.start_s:.2f} of a server's start ({self.start_s:.1f} s)"
        )


def markdown(summary: Summary) -> str:
    """The page mutants.md of a run."""
    lines = ["# Mutants", ""]
    lines += [summary.speed, ""] if summary.speed else []
    for lane in summary.lanes:
        lines += [f"## Lane {lane.name}", "", f"{lane.counts}.", ""]
        lines += [f"- without a mutant `{one}` does not pass" for one in lane.failed_clean]
        lines += [""] if lane.failed_clean else []
        lines += [*_table(lane), "", f"{LEGEND}.", ""]
        lines += [f"- {place}: `{check}`" for place, check in enumerate(lane.checks, 1)]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _table(lane: LaneSummary) -> Iterator[str]:
    numbers = [str(place) for place, _ in enumerate(lane.checks, 1)]
    head = ["mutant", "result", *numbers, "others", "seconds", "why"]
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in lane.rows:
        yield f"| {' | '.join(_cells(row, lane.checks))} |"


def _cells(row: Row, checks: Sequence[str]) -> list[str]:
    marks = [MARKS.get(row.outcomes.get(check, ""), "") for check in checks]
    others = [end for check, end in row.outcomes.items() if check not in checks]
    counted = {end: others.count(end) for end in dict.fromkeys(others)}
    return [
        f"`{row.id.removeprefix('mutant-')}`",
        f"{row.result} ({row.how})" if row.how in ("crash", "start") else row.result,
        *marks,
        ", ".join(f"{count} {end}" for end, count in counted.items()),
        "" if row.duration_s is None else f"{row.duration_s:.1f}",
        row.reason.replace("|", "\\|").replace("\n", " "),
    ]


def show(summary: Summary, console: Console, folder: str) -> None:
    """The summary on a terminal."""
    for lane in summary.lanes:
        console.print(f"\nlane {lane.name}: {lane.counts}", highlight=False)
        for row in lane.rows:
            killers = [check for check, end in row.outcomes.items() if end == "fail"]
            why = ", ".join(killers) or row.reason.partition("\n")[0]
            said = f"{row.result} ({row.how})" if row.how in ("crash", "start") else row.result
            name = escape(row.id.removeprefix("mutant-"))
            console.print(f"{said:>18}  {name}: {escape(why)}", highlight=False, soft_wrap=True)
            if row.result == "survived" and not row.reason:
                console.print(f"{'':>18}  nobody says why: it counts as a failure", style="red")
        for one in lane.failed_clean:
            console.print(f"without a mutant {escape(one)} does not pass", style="red")
    if summary.speed:
        console.print(summary.speed, highlight=False)
    console.print(f"report: {escape(folder)}", highlight=False, soft_wrap=True)
