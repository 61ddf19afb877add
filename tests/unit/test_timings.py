"""The run's stop watch: sums, spans, order, and that failed work is timed too."""

import json

import pytest

from mm_lora.core.record import Run
from mm_lora.core.report import of_run
from mm_lora.core.table import Tables
from mm_lora.core.timings import TIME_SPENT, Timings
from mm_lora.run import time_spent


def test_work_of_one_name_and_subject_is_summed_and_spanned() -> None:
    timings = Timings()
    timings.note("reference", "scout", 5.0, 6.0)
    timings.note("start server", "1-scout", 4.0, 20.0)
    timings.note("reference", "scout", 1.0, 1.5)
    timings.note("reference", "maverick", 6.0, 6.25)
    rows = timings.as_json()
    assert [(row["part"], row["what"]) for row in rows] == [
        ("reference", "scout"),
        ("start server", "1-scout"),
        ("reference", "maverick"),
    ]
    assert rows[0] == {
        "part": "reference",
        "what": "scout",
        "began_s": 1.0,
        "ended_s": 6.0,
        "seconds": 1.5,
        "times": 2,
    }


def test_failed_work_is_timed_too() -> None:
    timings = Timings()
    with pytest.raises(ValueError, match="no"), timings.of("checkpoint", "scout"):
        raise ValueError("no")
    (row,) = timings.as_json()
    assert (row["part"], row["times"]) == ("checkpoint", 1)


def test_they_are_in_the_report() -> None:
    timings = Timings()
    timings.note("close", "", 2.0, 3.0)
    run = Run(profile="cpu", argv=[], seed=0, started="", timings=timings.as_json())
    assert json.loads(json.dumps(of_run(run).as_json()))["timings"] == timings.as_json()


def test_work_side_by_side_counts_once_on_the_clock() -> None:
    timings = Timings()
    for began, ended in ((1.0, 2.0), (1.5, 3.0), (5.0, 6.0), (0.5, 6.5)):
        timings.note("later answers", "1-scout", began, ended)
    timings.note("later answers", "2-scout", 6.0, 7.0)
    timings.add("the server's own time", "1-scout", 4.5, 3)
    timings.add("the server's own time", "1-scout", 0.5, 1)
    found = timings.totals()
    answers = found["later answers"]
    assert (answers.times, answers.seconds, answers.clock_s) == (5, 10.5, 6.5)
    own = found["the server's own time"]
    assert (own.times, own.seconds, own.clock_s) == (4, 5.0, 0.0)


def test_what_nobody_noted_is_the_rest() -> None:
    timings = Timings()
    timings._began -= 10.0
    timings.note("start server", "1", 0.0, 4.0)
    timings.note("reference", "scout", 3.0, 6.0)
    timings.note("later answers", "1", 8.0, 9.0)
    assert timings.unnoted_s() == pytest.approx(3.0, abs=0.2)


def test_the_report_has_a_row_for_each_kind_of_work() -> None:
    timings, tables = Timings(), Tables()
    timings.note("start server", "1", 0.0, 4.0)
    time_spent.note(tables, timings)
    timings.note("start server", "2", 4.0, 5.0)
    timings.add("the server's own time", "1", 4.5, 3)
    time_spent.note(tables, timings)
    rows = tables[TIME_SPENT].rows
    assert rows[:2] == [["start server", 2, 5.0, 5.0], ["the server's own time", 3, 4.5, None]]
    assert [row[0] for row in rows[2:]] == [time_spent.REST]
