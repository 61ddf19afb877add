"""The run's stop watch: sums, spans, order, and that failed work is timed too."""

import json

import pytest

from mm_lora.core.record import Run
from mm_lora.core.report import of_run
from mm_lora.core.timings import Timings


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
