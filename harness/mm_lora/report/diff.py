"""The differences between two stored runs: vLLM, checks, numbers."""

from dataclasses import dataclass

from mm_lora.core.report import Report
from mm_lora.report.matrix_rows import Changed, changes, ran

WELL = ("pass", "known-defect", "fixed-upstream", "skip")
"""Outcomes that lose nothing beside each other. A fixed-upstream check passes; inside its entry's
versions the run ends with 1 all the same, since the entry is stale."""


@dataclass(frozen=True)
class Moved:
    """A check that ended alike with another number. `before`, `after`: its error, in logprob."""

    id: str
    before: float
    after: float
    tolerance: float


@dataclass(frozen=True)
class Difference:
    """`places`: what was run differs, as (name, before, after). `changed`: outcomes. `moved`:
    errors that differ by a tenth of their tolerance or more, largest move first."""

    places: tuple[tuple[str, str, str], ...]
    changed: tuple[Changed, ...]
    moved: tuple[Moved, ...]

    @property
    def worse(self) -> list[Changed]:
        """Checks that ended well in the first run and do not in the second."""
        return [c for c in self.changed if c.before in WELL and c.after and c.after not in WELL]


def compare(first: Report, second: Report) -> Difference:
    """Two reports of schema 1. Checks that only one of them has are `changed`, one side empty."""
    rows = [ran("", "", report.exit_code, report, "") for report in (first, second)]
    mine, other = _places(first), _places(second)
    places = tuple((key, mine[key], other[key]) for key in mine if mine[key] != other[key])
    return Difference(places, tuple(changes(*rows)), tuple(_moved(first, second)))


def _places(report: Report) -> dict[str, str]:
    vllm = report.served
    return {
        "tool": f"{report.tool.name} {report.tool.version}",
        "vLLM": vllm.label,
        "diff": vllm.diff.sha256 if vllm.diff else "none",
        "profile": report.profile,
        "seed": str(report.seed),
        "reference": f"transformers {report.transformers('reference') or 'unknown'}",
        "patches in the server": ", ".join(report.patches) or "none",
    }


def _moved(first: Report, second: Report) -> list[Moved]:
    before = {check.id: check for check in first.checks}
    found = []
    for check in second.checks:
        old = before.get(check.id)
        if old is None or old.outcome is not check.outcome:
            continue
        if not check.tolerance or old.error is None or check.error is None:
            continue
        if abs(old.error - check.error) >= check.tolerance / 10:
            found.append(Moved(check.id, old.error, check.error, check.tolerance))
    return sorted(found, key=lambda one: -abs(one.after - one.before))
