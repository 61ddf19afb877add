"""The terminal: a run ends with one screen; in tables, what stands above is not said again."""

import io

import pytest
from big_report import big_report
from rich.console import Console

from mm_lora.report.terminal import Talk, render, talk_of, without_repeats
from mm_lora.report.view import View


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (["scout", "336", "b", "1"], ["", "", "b", "1"]),
        (["scout", "504", "a", "1"], ["", "504", "a", "1"]),
        (["other", "336", "a", "1"], ["other", "336", "a", "1"]),
        # a whole row twice is said twice
        (["scout", "336", "a", "1"], ["scout", "336", "a", "1"]),
    ],
)
def test_only_leading_cells_are_left_empty(row: list[str], shown: list[str]) -> None:
    assert without_repeats(row, ["scout", "336", "a", "1"]) == shown
    assert without_repeats(row, []) == row


@pytest.mark.parametrize(("talk", "most"), [(Talk.QUIET, 6), (Talk.SCREEN, 24)])
def test_a_run_ends_with_one_screen(talk: Talk, most: int) -> None:
    out = io.StringIO()
    view = View(report=big_report(40, failing=4))
    render(view, Console(file=out, width=80), "reports/run", talk)
    said = out.getvalue()
    assert len(said.splitlines()) <= most
    assert "✗ FAIL" in said
    assert "reports/run/report.html" in said
    shown = talk is Talk.SCREEN
    assert ("--only arithmetic/scout/tower-36/" in said) == shown
    assert ("◆ d, " in said) == ("Cannot be seen" in said) == shown
    assert ("500 × the tolerance" in said) == shown
    assert "A table" not in said


def test_tables_are_shown_where_they_are_wanted() -> None:
    out = io.StringIO()
    talk = talk_of(quiet=False, verbose=True)
    render(View(report=big_report(40)), Console(file=out, width=120), talk=talk)
    assert "A table" in out.getvalue()
