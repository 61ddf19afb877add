"""The rows of a bench as values: what was measured and what was aimed at, as table and JSON."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from rich.markup import escape
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `unit`: s, MB, or × for a ratio; `aim`: the most that it should be, if any.

    `key`: its name in bench.json, which stays, where later runs are compared by it.
    """

    name: str
    value: float
    unit: str
    aim: float | None = None
    note: str = ""
    key: str = ""

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
            f"{short(self.value)} {self.unit}",
            f"{aim} {verdict}".strip(),
            self.note,
        )


def short(value: float) -> str:
    """Three digits, never with an exponent: 2840, 12.3, 0.0123; counts as they are."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def from_report(report: dict[str, Any]) -> list[Row]:
    """The run's timed parts, servers among them, and each group's seconds, from report.json."""
    rows = []
    for part in report["timings"]:
        name = " ".join(filter(None, (part["part"], part["what"])))
        note = f"{part['began_s']:.1f} – {part['ended_s']:.1f} s of the run"
        if part["times"] > 1:
            note += f", {part['times']} times"
        rows.append(Row(name=name, value=part["seconds"], unit="s", note=note))
    for group in dict.fromkeys(check["group"] for check in report["checks"]):
        mine = [check for check in report["checks"] if check["group"] == group]
        seconds = sum(check["duration_s"] for check in mine)
        rows.append(Row(name=f"{group}: {len(mine)} checks", value=seconds, unit="s"))
    return rows


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """The median of a/b; each pair was measured side by side, so that other load falls on both."""
    return statistics.median(a / b for a, b in pairs)


def middle_half(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The quartiles of a/b: how far the median can be trusted."""
    low, _, high = statistics.quantiles(a / b for a, b in pairs)
    return low, high


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    shown = Table(box=None, pad_edge=False)
    sides: tuple[Literal["left", "right"], ...] = ("left", "right", "left", "left")
    for title, justify in zip(("", "measured", "aim", ""), sides, strict=True):
        shown.add_column(title, justify=justify, overflow="fold")
    for row in rows:
        style = "yellow" if row.met is False else None
        shown.add_row(*map(escape, row.cells), style=style)
    return shown


UNITS = {"ratios": "×", "seconds": "s", "memory_mb": "MB"}
"""The objects of bench.json that hold figures with a key, and the unit of each."""


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """All rows, in their order, for bench.json."""
    return [{**asdict(row), "met": row.met} for row in rows]


def keyed(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Those with a key: ratios to one plain start with one answer, seconds, and megabytes."""
    return {
        name: {row.key: row.value for row in rows if row.key and row.unit == unit}
        for name, unit in UNITS.items()
    }


def compared(now: Mapping[str, Mapping[str, float]], old: Mapping[str, Any]) -> list[Row]:
    """Each ratio that an older bench.json has too, as a part of it: below 1 is faster."""
    known = old.get("ratios") or {}
    return [
        Row(name=f"{key} / the last stored", value=value / known[key], unit="×", note=_was(old))
        for key, value in now["ratios"].items()
        if known.get(key)
    ]


def _was(old: Mapping[str, Any]) -> str:
    return f"stored {old['made']}" if old.get("made") else ""


def markdown(rows: Sequence[Row]) -> str:
    """The table, to paste."""
    lines = ["| | measured | aim | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(row.cells) + " |" for row in rows]
    return "\n".join(lines) + "\n"
