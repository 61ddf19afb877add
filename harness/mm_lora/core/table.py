"""The report's tables: raw cells in typed columns. Whoever writes a table formats it, nobody else.

In report.json a table is {"title", "columns": names, "kinds", "absent", "rows", "brief"}: numbers
stay numbers, an absent cell is null, and what is not finite is "inf", "-inf" or "nan", since JSON
has no number for it. `Table.from_json` undoes that.
"""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

Cell = str | int | float | None
"""None: absent, for example not asked in this run. Text in a column of numbers is shown as it is:
"own" in place of a rank that is not ours."""


class Kind(StrEnum):
    """What a column's numbers are, and so how they are shown."""

    TEXT = "text"
    COUNT = "count"
    NUMBER = "number"
    LOGPROB = "logprob"
    DIFFERENCE = "difference"  # of logprobs that should agree: its order of magnitude counts
    RATIO = "ratio"
    FRACTION = "fraction"  # shown in percent
    SECONDS = "seconds"
    BYTES = "bytes"


_UNITS = ("B", "KiB", "MiB", "GiB")


def _bytes(value: float) -> str:
    unit = min(len(_UNITS) - 1, int(math.log(max(abs(value), 1), 1024)))
    return f"{value / 1024**unit:.{int(unit > 0)}f} {_UNITS[unit]}"


_FORMATS: Mapping[Kind, Callable[[float], str]] = {
    Kind.TEXT: str,
    Kind.COUNT: str,
    Kind.NUMBER: "{:.3g}".format,
    Kind.LOGPROB: "{:.4f}".format,
    Kind.DIFFERENCE: "{:.1e}".format,
    Kind.RATIO: "{:.3g}".format,
    Kind.FRACTION: lambda value: f"{100 * value:.2g} %",
    Kind.SECONDS: "{:.1f}".format,
    Kind.BYTES: _bytes,
}


@dataclass(frozen=True)
class Column:
    """A column's name and the kind of its cells. `absent`: what is shown where a cell is None."""

    name: str
    kind: Kind = Kind.TEXT
    absent: str = ""

    def shown(self, cell: Cell) -> str:
        """A cell as people read it."""
        if cell is None:
            return self.absent
        return cell if isinstance(cell, str) else _FORMATS[self.kind](cell)


@dataclass(frozen=True, kw_only=True)
class StoredTable:
    """A table as report.json has it. `kinds`, `absent`: of each column; older runs wrote none."""

    title: str = ""
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...] = ()
    absent: tuple[str, ...] = ()
    brief: bool = True
    rows: tuple[tuple[Cell, ...], ...] = ()


class Table:
    """Rows of raw cells. A column given as a string is one of text.

    `brief`: short enough for the terminal's summary too. Rows are changed by the methods alone:
    they remember which rows changed, so that a journal writes each change once. Any thread may.
    """

    def __init__(self, title: str, columns: Sequence[Column | str], *, brief: bool = True) -> None:
        self.title = title
        self.columns = tuple(Column(c) if isinstance(c, str) else c for c in columns)
        self.brief = brief
        self._rows: list[list[Cell]] = []
        self._changed: set[int] = set()
        self._lock = threading.RLock()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self.as_json() == other.as_json()

    __hash__ = None  # type: ignore[assignment]

    @property
    def rows(self) -> Sequence[Sequence[Cell]]:
        """The raw cells, one list a row."""
        return self._rows

    def add(self, *cells: Cell) -> int:
        """Append a row; its place. Raises ValueError for another number of cells than columns."""
        with self._lock:
            place = len(self._rows)
            self.put(place, cells)
            return place

    def put(self, place: int, cells: Sequence[Cell]) -> None:
        """Replace the row at `place`, or append one there."""
        if len(cells) != len(self.columns):
            raise ValueError(f"{len(cells)} cells for {len(self.columns)} columns of {self.title}")
        with self._lock:
            self._rows[place : place + 1] = [list(cells)]
            self._changed.add(place)

    def set(self, place: int, column: str, cell: Cell) -> None:
        """Change one cell of the row at `place`."""
        with self._lock:
            self._rows[place][self.names.index(column)] = cell
            self._changed.add(place)

    def sort(self, key: Callable[[Sequence[Cell]], Any]) -> None:
        """Bring the rows into the order of `key`; equal ones stay as they came."""
        with self._lock:
            self._rows = sorted(self._rows, key=key)
            self._changed.update(range(len(self._rows)))

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [column.name for column in self.columns]

    def find(self, **cells: Cell) -> int | None:
        """The place of the first row with these cells, by column name."""
        wanted = [(self.names.index(name), cell) for name, cell in cells.items()]
        rows = enumerate(self._rows)
        return next((at for at, row in rows if all(row[i] == c for i, c in wanted)), None)

    def shown(self) -> list[list[str]]:
        """Every row as people read it."""
        return [
            [column.shown(cell) for column, cell in zip(self.columns, row, strict=True)]
            for row in self._rows
        ]

    def changes(self) -> dict[int, list[Cell]]:
        """Place → row of what changed since the last call."""
        with self._lock:
            found = {place: list(self._rows[place]) for place in sorted(self._changed)}
            self._changed.clear()
            return found

    def head(self) -> dict[str, Any]:
        """The table without its rows, as report.json has it."""
        return {
            "title": self.title,
            "columns": self.names,
            "kinds": [str(column.kind) for column in self.columns],
            "absent": [column.absent for column in self.columns],
            "brief": self.brief,
        }

    def as_json(self) -> dict[str, Any]:
        """For report.json, whose writer spells what is not finite."""
        return {**self.head(), "rows": self._rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Table":
        """A table of report.json; one without kinds is all text, as older runs wrote it."""
        stored = msgspec.convert(data, StoredTable)
        names = stored.columns
        kinds, absent = stored.kinds or [Kind.TEXT] * len(names), stored.absent or [""] * len(names)
        columns = [Column(*told) for told in zip(names, kinds, absent, strict=True)]
        table = cls(stored.title, columns, brief=stored.brief)
        for row in stored.rows:
            table.add(*(_read(column, cell) for column, cell in zip(columns, row, strict=True)))
        return table


class Tables(dict[str, Table]):
    """All tables of a run, by name."""

    def named(
        self, name: str, title: str, columns: Sequence[Column | str], *, brief: bool = True
    ) -> Table:
        """The table of that name, made at the first call."""
        if name not in self:
            self[name] = Table(title, columns, brief=brief)
        return self[name]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Tables":
        """The `tables` of report.json."""
        return cls({name: Table.from_json(table) for name, table in data.items()})


def _read(column: Column, cell: Cell) -> Cell:
    words = ("inf", "-inf", "nan")
    return float(cell) if column.kind is not Kind.TEXT and cell in words else cell
