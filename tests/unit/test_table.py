"""The report's tables: raw cells inside, words for people outside, JSON without loss between."""

import json
import math

import pytest

from mm_lora.core.run_folder import dumps
from mm_lora.core.table import Cell, Column, Kind, Table, Tables

KINDS: list[tuple[Kind, Cell, str]] = [
    (Kind.TEXT, "as it is", "as it is"),
    (Kind.COUNT, 1234567, "1234567"),
    (Kind.COUNT, "own", "own"),
    (Kind.NUMBER, 16.0, "16"),
    (Kind.NUMBER, 0.012345, "0.0123"),
    (Kind.LOGPROB, -1.23456, "-1.2346"),
    (Kind.DIFFERENCE, 1.26e-6, "1.3e-06"),
    (Kind.DIFFERENCE, math.inf, "inf"),
    (Kind.LOGPROB, math.nan, "nan"),
    (Kind.RATIO, 51.23, "51.2"),
    (Kind.FRACTION, 0.0213, "2.1 %"),
    (Kind.SECONDS, 12.34, "12.3"),
    (Kind.BYTES, 500, "500 B"),
    (Kind.BYTES, -1536, "-1.5 KiB"),
    (Kind.BYTES, 3 * 2**41, "6144.0 GiB"),
]


@pytest.mark.parametrize(("kind", "cell", "shown"), KINDS)
def test_a_cell_is_shown_by_its_kind(kind: Kind, cell: Cell, shown: str) -> None:
    assert Column("c", kind, "absent").shown(cell) == shown
    assert Column("c", kind, "absent").shown(None) == "absent"


def test_a_stored_table_is_the_same_table() -> None:
    table = Table("title", [Column(str(n), kind) for n, (kind, *_) in enumerate(KINDS)])
    table.add(*(cell for _, cell, _ in KINDS))
    table.add(*[None] * len(KINDS))
    text = dumps(table.as_json())
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    again = Table.from_json(json.loads(text))
    assert (again.columns, again.title, again.brief) == (table.columns, "title", True)
    # NaN is not itself
    assert list(map(repr, again.rows)) == list(map(repr, table.rows))


def test_the_word_inf_in_a_column_of_text_stays_a_word() -> None:
    table = Table("", ["name"])
    table.add("inf")
    assert Table.from_json(table.as_json()).rows == [["inf"]]


def test_a_table_of_an_older_run_is_text() -> None:
    old = {"title": "t", "columns": ["a", "b"], "rows": [["x", "1.0e-06"], ["y", 2]]}
    assert Table.from_json(old).shown() == [["x", "1.0e-06"], ["y", "2"]]


def test_a_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns of t"):
        Table("t", ["a", "b"]).add(1)


def test_each_change_is_told_once() -> None:
    table = Tables().named("t", "t", ["name", Column("n", Kind.COUNT)])
    for name, number in (("a", 3), ("b", 1), ("c", 2)):
        table.add(name, number)
    assert sorted(table.changes()) == [0, 1, 2]
    assert table.changes() == {}
    place = table.find(name="b")
    assert place == 1
    table.set(place, "n", 9)
    table.add("d", 0)
    assert table.changes() == {1: ["b", 9], 3: ["d", 0]}
    table.sort(lambda row: row[1])
    assert list(table.changes()) == [0, 1, 2, 3]
    assert [row[0] for row in table.rows] == ["d", "c", "a", "b"]
    assert table.find(name="x") is None
