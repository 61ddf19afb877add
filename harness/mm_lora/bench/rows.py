"""The rows of a bench as values: what was measured and what was aimed at, as table and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `unit`: s, MB, or × for a ratio; `aim`: the most that it should be, if any."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None where there is none. Nothing is ever failed by it."""
        return None if self.aim is None else self.value <= self.aim

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """Name, value, aim and note for a table."""
        aim = "" if self.aim is None else f"≤ {self.aim:g} {self.unit}"
        verdict = {None: "", True: "met", False: "not met"}[self.met]
        return (
            self.name,
            f"{self.value:.3g} {self.unit}",
            f"{aim} {verdict}".strip(),
            self.note,
        )


def from_report(report: dict[str, Any]) -> list[Row]:
    """Server starts and each group's seconds, from a run's report.json."""
    rows = [
        Row(name=f"server ready: {server['label']}", value=server["ready_s"], unit="s")
        for server in report["servers"]
        if server["ready_s"] is not None
    ]
    for group in dict.fromkeys(check["group"] for check in report["checks"]):
        mine = [check for check in report["checks"] if check["group"] == group]
        seconds = sum(check["duration_s"] for check in mine)
        rows.append(Row(name=f"{group}: {len(mine)} checks", value=seconds, unit="s"))
    return rows


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of a/b; each pair was measured side by side, so that other load falls on both."""
    ratios = sorted(a / b for a, b in pairs)
    middle = len(ratios) // 2
    return ratios[middle] if len(ratios) % 2 else (ratios[middle - 1] + ratios[middle]) / 2


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For bench.json."""
    return [{**asdict(row), "met": row.met} for row in rows]


def markdown(rows: Sequence[Row]) -> str:
    """The table, to paste."""
    lines = ["| | measured | aim | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row.cells) + " |" for row in rows]
    return "\n".join(lines) + "\n"
