"""matrix.html: vLLM by check group, family by vLLM, and what changed from one vLLM to the next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm_lora.core.outcomes import WORST_FIRST, Outcome, run_outcome
from mm_lora.report import page, scan_lines
from mm_lora.report.matrix_families import family_rows, turns
from mm_lora.report.matrix_rows import RAN, Row, changes, group_names, neighbours, worst
from mm_lora.report.view import GOOD

SHOWN = 200
"""So many changed checks are on the page for one pair of rows; matrix.json has all."""


@dataclass(frozen=True)
class Cell:
    """Checks of one kind on one vLLM. `outcome`: the worst of them, "" where there is none."""

    outcome: str
    passed: int
    judged: int
    said: str


def render(rows: Sequence[Row], argv: Sequence[str], started: str) -> str:
    """The page of a matrix; each row links to the page of its own run beside it."""
    groups, ran = group_names(rows), [row for row in rows if row.state == RAN]
    by_family: dict[str, dict[str, Cell]] = {}
    for one in family_rows(rows):
        whole = sum((Counter(counts) for counts in one.groups.values()), Counter[str]())
        label = f"{one.version}, patch {one.patch}"
        by_family.setdefault(one.family, {})[label] = cell(whole)
    code = worst(rows)
    return page.render(
        "matrix.html",
        rows=rows,
        ran=ran,
        groups=groups,
        cells={row.label: {g: cell(row.groups.get(g, {})) for g in groups} for row in rows},
        by_family=by_family,
        turns=turns(rows),
        changes=[(a.label, b.label, changes(a, b)) for a, b in neighbours(rows)],
        scans=[(row.label, scan_lines.summary(row.scan)) for row in rows if row.scan],
        outcome=run_outcome(code),
        code=int(code),
        verdict=verdict(rows),
        argv=argv,
        started=started,
        shown=SHOWN,
    )


def cell(counts: Mapping[str, int]) -> Cell:
    """The counts of outcomes as one cell."""
    found = next((str(one) for one in WORST_FIRST if counts.get(one)), "")
    return Cell(
        outcome=found,
        passed=sum(counts.get(one, 0) for one in GOOD),
        judged=sum(n for outcome, n in counts.items() if outcome != Outcome.SKIP),
        said=", ".join(f"{n} {outcome}" for outcome, n in counts.items()),
    )


def verdict(rows: Sequence[Row]) -> str:
    """How many of the rows ran, and how they ended."""
    counts = Counter(row.outcome if row.state == RAN else row.state for row in rows)
    many = "row" if len(rows) == 1 else "rows"
    ended = ", ".join(f"{n} {word}" for word, n in counts.items())
    return f"{len(rows)} {many}, each one vLLM with one patch: {ended}." if rows else "No row yet."
