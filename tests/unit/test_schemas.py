"""The published schemas: current, and such that a document that is not as they say is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import stored
from inspect_sample import LANGUAGE, adapter, inspector, pair

from mm_lora.adapters.as_found import look
from mm_lora.checks.inspection.document import document
from mm_lora.cli import schemas
from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check, Run
from mm_lora.core.report import of_run
from mm_lora.core.run_folder import dumps
from mm_lora.core.typed import plain
from mm_lora.families import registry
from mm_lora.families.tokens import tokens
from mm_lora.run.mutant_document import Baseline, LaneResults, MutantResult, MutantResults
from mm_lora.run.mutant_turns import Lane


def test_the_published_schemas_are_those_of_the_types() -> None:
    published = {file.name: file.read_text(encoding="utf-8") for file in stored.SCHEMAS.iterdir()}
    assert published == dict(schemas.files()), "`make schemas` writes them"


@pytest.mark.parametrize("name", schemas.DOCUMENTS)
def test_they_are_schemas_and_say_what_each_part_is(name: str) -> None:
    stored.checker(name).check_schema(schemas.schema(name))
    for part in schemas.schema(name)["$defs"].values():
        assert part["description"]


def a_report() -> dict[str, Any]:
    """The least that is a report."""
    check = Check(id="dice/a/b", title="t", group="dice", outcome=Outcome.PASS, error=float("inf"))
    run = Run(profile="cpu", argv=[], seed=0, started="now", checks=[check])
    said: dict[str, Any] = json.loads(dumps(of_run(run).as_json()))
    return said


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"schema": 2}, r"\$.schema"),
        ({"outcome": "passed"}, r"\$.outcome"),
        ({"counts": {"passed": 1}}, r"\$.counts"),
        ({"counts": {"pass": "1"}}, r"\$.counts"),
        ({"novel": 1}, "novel"),
        ({"vllm": {"novel": 1}}, "novel"),
        ({"checks": [{}]}, r"\$.checks\[0\]"),
        ({"tables": {"t": {"title": "t"}}}, r"\$.tables.t"),
        ({"exit_code": None}, r"\$.exit_code"),
    ],
)
def test_another_document_is_refused(wrong: dict[str, Any], where: str) -> None:
    report = a_report()
    stored.require("report", json.dumps(report))
    with pytest.raises(AssertionError, match=where):
        stored.require("report", json.dumps({**report, **wrong}))


def test_each_key_of_a_report_is_missed() -> None:
    report = a_report()
    for key in report:
        with pytest.raises(AssertionError, match=f"'{key}' is a required"):
            stored.require("report", json.dumps({k: v for k, v in report.items() if k != key}))


def test_a_number_may_be_spelled_where_json_has_none() -> None:
    report = a_report()
    assert report["checks"][0]["error"] == "inf"
    report["checks"][0]["error"] = "large"
    with pytest.raises(AssertionError, match=r"\$.checks\[0\].error"):
        stored.require("report", json.dumps(report))


@pytest.mark.parametrize("family", registry.families())
def test_tokens_of_every_family(family: str) -> None:
    media = registry.family(family).media
    videos = ["8x320x240"] if "video" in media else []
    images = ["400x300"] if "image" in media else []
    stored.require("tokens", dumps(tokens(family, images=images, videos=videos).as_json()))


def test_one_adapter_or_several(tmp_path: Path) -> None:
    made = look(
        adapter(tmp_path, pair(f"{LANGUAGE}.q_proj"), pair(f"{LANGUAGE}.o_proj", prefix="odd."))
    )
    told = inspector().inspect("mine", made)
    stored.require("inspect", dumps(document([told])))
    stored.require("inspect", dumps(document([told, told])))
    with pytest.raises(AssertionError):
        stored.require("inspect", dumps({**document([told]), "verdict": "fine"}))


def test_a_mutant_is_killed_in_a_known_way() -> None:
    def results(**more: Any) -> str:
        one = MutantResult(id="mutant-a", result="killed", **more)
        lane = LaneResults(
            lane=Lane.CHECKS,
            baseline=Baseline(judged=1, failed=()),
            mutants=(one,),
            control_failures=(),
        )
        return dumps(plain(MutantResults(lanes=(lane,))))

    stored.require("mutants", results(how="numbers"))
    with pytest.raises(AssertionError):
        stored.require("mutants", results(how="words"))
