"""The bench's pure parts: ratios, rows from a report, memory lines, the table."""

import io
import math
import os
from dataclasses import replace

from rich.console import Console

from mm_lora.cli.bench.memory import Peak, descendants, field_of, high_water, proportional
from mm_lora.cli.bench.parts import Verified, added, beside, later, memory, overhead, same
from mm_lora.cli.bench.rows import (
    Row,
    as_json,
    compared,
    from_report,
    keyed,
    markdown,
    median_ratio,
    middle_half,
    short,
    table,
)
from mm_lora.core.asking import Answer


def test_the_median_of_pairs_ignores_one_bad_moment() -> None:
    assert median_ratio([(1.0, 1.0), (9.0, 1.0), (1.1, 1.0)]) == 1.1
    assert median_ratio([(1.0, 1.0), (2.0, 1.0)]) == 1.5


def test_an_aim_is_shown_met_or_not() -> None:
    rows = [
        Row(name="a", value=1.5, unit="×", aim=1.6),
        Row(name="b", value=2.0, unit="×", aim=1.6),
        Row(name="c", value=3.0, unit="s"),
    ]
    assert [row["met"] for row in as_json(rows)] == [True, False, None]
    assert "| b | 2.00 × | ≤ 1.6 × not met |" in markdown(rows)


def test_rows_of_a_report() -> None:
    report = {
        "timings": [
            {"part": "start server", "what": "1-scout", "began_s": 1.0, "ended_s": 13.0}
            | {"seconds": 12.0, "times": 1},
            {"part": "reference", "what": "scout", "began_s": 2.0, "ended_s": 9.0}
            | {"seconds": 4.5, "times": 30},
        ],
        "checks": [
            {"group": "dice", "duration_s": 1.0},
            {"group": "numerics", "duration_s": 5.0},
            {"group": "dice", "duration_s": 2.0},
        ],
    }
    assert [(row.name, row.value, row.note) for row in from_report(report)] == [
        ("start server 1-scout", 12.0, "1.0 – 13.0 s of the run"),
        ("reference scout", 4.5, "2.0 – 9.0 s of the run, 30 times"),
        ("dice: 2 checks", 3.0, ""),
        ("numerics: 1 checks", 5.0, ""),
    ]


def test_figures_have_three_digits_and_no_exponent() -> None:
    assert [short(v) for v in (2840.4, 152.0, 12.345, 1.0, 0.01234, 0)] == [
        "2840",
        "152",
        "12.3",
        "1.00",
        "0.0123",
        "0",
    ]


def test_the_quartiles_show_how_far_a_median_can_be_trusted() -> None:
    low, high = middle_half([(float(n), 10.0) for n in range(1, 20)])
    assert (low, high) == (0.5, 1.5)


def test_a_run_is_set_beside_a_plain_start() -> None:
    report = {"servers": [{}], "checks": [{}] * 24, "exit_code": 1, "duration_s": 28.0}
    run = Verified("verify --only x", 30.0, Peak(own=151_000_000, tree=3_000_000_000), report)
    _, outside, ratio = rows = beside(run, 20.0, aim=1.6)
    assert (outside.value, ratio.value, ratio.met) == (2.0, 1.5, True)
    assert rows[0].note == "24 checks, 1 server, ended with 1"
    assert [row.met for row in memory(run)] == [False, True]


def test_an_answer_is_the_same_to_the_last_bit_only() -> None:
    one = Answer(
        model="all",
        text="a",
        token_ids=(1,),
        logprobs=(-1.0,),
        prompt_tokens=3,
        completion_tokens=1,
        finish_reason="length",
    )
    assert same(one, one)
    assert not same(one, replace(one, logprobs=(math.nextafter(-1.0, 0),)))
    assert not same(replace(one, token_ids=()), replace(one, token_ids=()))
    assert not same(replace(one, status=500), replace(one, status=500))


def test_a_table_for_the_terminal_names_the_missed_aim() -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(table([Row(name="[x] / y", value=2840.0, unit="MB", aim=150)]))
    shown = console.export_text()
    assert "[x] / y" in shown
    assert "2840 MB" in shown
    assert "≤ 150 MB not met" in shown


def test_memory_lines() -> None:
    assert field_of("Rss:  7 kB\nPss:      123 kB\nPss_Anon: 4 kB\n", "Pss") == 123
    assert field_of("", "Pss") == 0
    assert os.getpid() in descendants(os.getpid())
    assert 0 < proportional(os.getpid()) <= 2 * high_water(os.getpid())
    assert high_water(0) == 0


def verified(seconds: float, checks: int = 10, ready: tuple[float, ...] = (5.0,)) -> Verified:
    servers = [{"ready_s": one} for one in ready]
    report = {"servers": servers, "checks": [{}] * checks, "exit_code": 0, "duration_s": seconds}
    return Verified("verify", seconds, Peak(own=1, tree=2), report)


def test_what_later_runs_are_compared_by_has_a_key() -> None:
    rows = [
        *beside(verified(30.0), 20.0, key="core_cached"),
        added(verified(30.0), verified(54.0), 20.0),
        overhead(verified(25.0), 20.0),
        *memory(verified(30.0)),
    ]
    found = keyed(rows)
    assert found["ratios"] == {"core_cached": 1.5, "added_family": 1.2, "overhead_per_check": 0.1}
    assert found["seconds"] == {}
    assert found["memory_mb"] == {"tool": 1e-6, "run": 2e-6}


def test_a_later_start_is_the_median_of_those_after_the_first() -> None:
    row = later(verified(60.0, ready=(10.0, 2.0, 4.0, 3.0)), 20.0)
    assert row is not None
    assert (row.key, row.value, row.met) == ("later_start", 0.15, True)
    assert later(verified(60.0), 20.0) is None


def test_ratios_are_set_beside_the_last_stored() -> None:
    now = {"ratios": {"dice": 1.2, "core_cold": 3.0}}
    (row,) = compared(now, {"made": "2026-11-28", "ratios": {"dice": 1.6, "core_cold": 0}})
    assert (row.name, row.note) == ("dice / the last stored", "stored 2026-11-28")
    assert math.isclose(row.value, 0.75)
    assert compared(now, {}) == []
