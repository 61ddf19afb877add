"""The dot plot: error and effect of every adapter, one row each, on one logarithmic scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mm_lora.core.record import Check
from mm_lora.report.pictures.scale import LogScale

SCALE = LogScale(1e-8, 1e2)
MOST_ROWS = 150


@dataclass(frozen=True)
class Dot:
    """One answer: places in percent of the width, and what a pointer is told."""

    error: float
    effect: float | None
    outcome: str
    said: str


@dataclass(frozen=True)
class Row:
    """One adapter on one model. `tolerance`: the least of its checks; `worst` in logprob."""

    model: str
    adapter: str
    tolerance: float
    worst: float
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class DotPlot:
    """`left_out`: rows beyond those that are drawn, whose errors are the least."""

    rows: list[Row]
    ticks: list[tuple[float, str]]
    left_out: int


def dot_plot(checks: Sequence[Check]) -> DotPlot | None:
    """Of the checks that compare an adapter's numbers with the reference; None without any."""
    by_adapter: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        if check.group == "numerics" and check.error is not None and check.tolerance:
            _, model, adapter, *_ = check.id.split("/")
            by_adapter.setdefault((model, adapter), []).append(check)
    rows = [_row(model, adapter, mine) for (model, adapter), mine in by_adapter.items()]
    kept = sorted(rows, key=lambda row: -row.worst)[:MOST_ROWS]
    shown = [row for row in rows if row in kept]
    return DotPlot(shown, SCALE.ticks, len(rows) - len(shown)) if rows else None


def _row(model: str, adapter: str, checks: Sequence[Check]) -> Row:
    return Row(
        model=model,
        adapter=adapter,
        tolerance=SCALE.at(min(check.tolerance or math.inf for check in checks)),
        worst=max(check.error or 0.0 for check in checks),
        dots=tuple(_dot(check) for check in checks),
    )


def _dot(check: Check) -> Dot:
    error = check.error or 0.0
    effect = "" if check.effect is None else f", effect {check.effect:.3g}"
    return Dot(
        error=SCALE.at(error),
        effect=None if check.effect is None else SCALE.at(check.effect),
        outcome=str(check.outcome),
        said=f"{check.id}: {check.outcome}, error {error:.3g}{effect}",
    )
