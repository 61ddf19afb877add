"""The bench's pure parts: ratios, rows from a report, memory lines, the table."""

import os

from mm_lora.bench.memory import descendants, field_of, high_water, proportional
from mm_lora.bench.rows import Row, as_json, from_report, markdown, median_ratio


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
    assert "| b | 2 × | ≤ 1.6 × not met |" in markdown(rows)


def test_rows_of_a_report() -> None:
    report = {
        "servers": [{"label": "1-scout", "ready_s": 12.0}, {"label": "2-x", "ready_s": None}],
        "checks": [
            {"group": "dice", "duration_s": 1.0},
            {"group": "numerics", "duration_s": 5.0},
            {"group": "dice", "duration_s": 2.0},
        ],
    }
    assert [(row.name, row.value) for row in from_report(report)] == [
        ("server ready: 1-scout", 12.0),
        ("dice: 2 checks", 3.0),
        ("numerics: 1 checks", 5.0),
    ]


def test_memory_lines() -> None:
    assert field_of("Rss:  7 kB\nPss:      123 kB\nPss_Anon: 4 kB\n", "Pss") == 123
    assert field_of("", "Pss") == 0
    assert os.getpid() in descendants(os.getpid())
    assert 0 < proportional(os.getpid()) <= 2 * high_water(os.getpid())
    assert high_water(0) == 0
