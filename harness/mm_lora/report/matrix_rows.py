"""The rows of a matrix: the runs of each vLLM, their results and what changed. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from mm_lora.core.errors import ExitCode
from mm_lora.core.outcomes import Outcome
from mm_lora.core.report import Report
from mm_lora.core.selection import GROUPS
from mm_lora.serving.scan.findings import Scan

RAN = "ran"
NOT_INSTALLED, NO_FEATURE, NO_PATCH = "not-installed", "no-feature", "diff-does-not-apply"
"""Why a row was not run. The first two are news about a version, and count as exit code 0 beside
a row that ran."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One vLLM with one patch. `groups`: check group → outcome → how many; `checks`: id → outcome;
    `defects`: known defect → how many checks met it.

    `report`: the run's folder, relative to the matrix's. `reason`: why it was not run, or the
    run's own note. `scan`: what its source says, None where there is none to read.
    """

    version: str
    patch: str
    state: str
    exit_code: int
    reason: str = ""
    distribution: str = ""
    transformers: str = ""
    outcome: str = ""
    duration_s: float = 0.0
    report: str = ""
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    checks: Mapping[str, str] = field(default_factory=dict)
    defects: Mapping[str, int] = field(default_factory=dict)
    patches: tuple[str, ...] = ()
    diff: Mapping[str, Any] = field(default_factory=dict)
    scan: Scan | None = None

    @property
    def label(self) -> str:
        """For headings and progress: `0.16.0, patch feature`."""
        return f"{self.version}, patch {self.patch}"


@dataclass(frozen=True)
class Changed:
    """A check whose outcome differs from the row above; "" where a row does not have it."""

    id: str
    before: str
    after: str


def choices(lacks: bool, wanted: str | None, *, diff: bool = False) -> list[str | None]:
    """The feature patch of each row of one vLLM: as asked or with a diff, else without it and,
    where a family's tower/connector LoRA is missing, with it too.
    """
    if wanted is not None or diff:
        return [wanted]
    return ["none", "feature"] if lacks else ["none"]


def ran(version: str, patch: str, exit_code: int, report: Report, where: str) -> Row:
    """The row of a run, from its report."""
    groups: dict[str, Counter[str]] = {}
    for check in report.checks:
        groups.setdefault(check.group, Counter())[str(check.outcome)] += 1
    return Row(
        version=version,
        patch=patch,
        state=RAN,
        exit_code=exit_code,
        reason=report.note,
        distribution=report.served.distribution or "",
        transformers=report.transformers("server"),
        outcome=report.outcome,
        duration_s=report.duration_s,
        report=where,
        groups={group: dict(counts) for group, counts in groups.items()},
        checks={check.id: str(check.outcome) for check in report.checks},
        defects=dict(Counter(check.defect for check in report.checks if check.defect)),
        patches=report.patches,
        diff=report.vllm.get("diff", {}),
    )


def group_names(rows: Iterable[Row]) -> list[str]:
    """The check groups that any row has, in their own order."""
    found = {group for row in rows for group in row.groups}
    return [*(g for g in GROUPS if g in found), *sorted(found - set(GROUPS))]


def cell(counts: Mapping[str, int]) -> str:
    """`12 pass, 1 fail`, in the order of outcomes; empty where there is no check."""
    return ", ".join(f"{counts[o]} {o}" for o in map(str, Outcome) if counts.get(o))


def changes(above: Row, row: Row) -> list[Changed]:
    """Checks whose outcome differs, in the order of the row; those of the row above alone last."""
    ids = [*row.checks, *(check for check in above.checks if check not in row.checks)]
    pairs = ((i, above.checks.get(i, ""), row.checks.get(i, "")) for i in ids)
    return [Changed(i, before, after) for i, before, after in pairs if before != after]


def neighbours(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Each row that ran, with the nearest one above it that ran too."""
    through = [row for row in rows if row.state == RAN]
    return list(pairwise(through))


def worst(rows: Iterable[Row]) -> ExitCode:
    """The exit code of a matrix: a signal before wrong usage, failure, trouble and nothing.

    Nothing, too, where no row ran: news about versions is no verification.
    """
    rows = list(rows)
    codes = {row.exit_code for row in rows}
    if not any(row.state == RAN for row in rows):
        codes.add(ExitCode.EMPTY)
    order = (ExitCode.SIGINT, ExitCode.SIGTERM, ExitCode.USAGE, ExitCode.FAIL, ExitCode.ERROR)
    return next((code for code in (*order, ExitCode.EMPTY) if code in codes), ExitCode.PASS)
