"""Shards: every check in exactly one; a merge takes nothing less than the whole run."""

from typing import Any

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.core.report import Report
from mm_lora.report.merge import merge
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Planned, Wish, make_plan, part_of
from mm_lora.run.profiles import load
from mm_lora.run.settings import settings_of
from mm_lora.run.shards import Shard, parse


def whole_plan() -> Any:
    wishes = [None, *(Wish(model="scout", flags=(("max-loras", n),)) for n in range(1, 9))]
    checks = [
        Planned(id=f"g/m/{n}/{w}", title="", core=True, wish=wish)
        for n, wish in enumerate(wishes)
        for w in "ab"
    ]
    return make_plan(checks, load("cpu"), RunOptions())


def test_the_shards_are_the_whole_plan_and_share_no_server() -> None:
    whole = whole_plan()
    parts = [part_of(whole, Shard(index=i, count=3)) for i in (1, 2, 3)]
    ids = [check.id for part in parts for check in part.checks]
    assert sorted(ids) == sorted(check.id for check in whole.checks)
    specs = [spec for part in parts for spec in part.specs]
    assert len(specs) == len(set(specs)) == 8
    assert {"g/m/0/a", "g/m/0/b"} <= {check.id for check in parts[0].checks}


def test_a_part_is_the_same_on_every_machine() -> None:
    # the key of a spec is a content hash, so that this does not move from run to run
    assert [Shard(index=i, count=4).has("0000000a") for i in (1, 2, 3, 4)] == [0, 0, 1, 0]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "/"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="shard"):
        settings_of([f"shard={text}"])
    assert parse("2/2").index == 2


PLANNED = ["a/m/x", "b/m/y", "c/m/z"]


def check(identity: str, outcome: str = "pass") -> dict[str, Any]:
    return {
        "id": identity,
        "title": identity,
        "group": identity[0],
        "outcome": outcome,
        "duration_s": 1.0,
    }


def shard(index: int, *ids: str, count: int = 2, **other: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "tool": {"name": "mm-lora", "version": "1"},
        "vllm": {},
        "profile": "cpu",
        "seed": 0,
        "finished": True,
        "outcome": "pass",
        "exit_code": 0,
        "argv": ["mm-lora", "verify", "--reports", str(index), "--set", f"shard={index}/{count}"],
        "started": f"t{index}",
        "duration_s": 2.0,
        "environment": {},
        "servers": [{"spec": {}, "label": "l", "log": "servers/1/log"}],
        "checks": [check(identity) for identity in ids],
        "tables": {"t": {"columns": ["a", "b", "c"], "rows": [["x", *_cells(index)]]}},
        "shard": {"index": index, "count": count, "planned": PLANNED},
        **other,
    }


def _cells(index: int) -> list[str | None]:
    return ["1", None] if index == 1 else [None, "2"]


ONE, TWO = shard(1, "c/m/z"), shard(2, "a/m/x", "b/m/y")


def merged(shards: dict[str, Any]) -> dict[str, Any]:
    return merge({n: Report.from_json(one) for n, one in shards.items()}, ()).as_json()


def test_merged_is_the_whole_in_its_order() -> None:
    whole = merged({"two": TWO, "one": ONE})
    assert [one["id"] for one in whole["checks"]] == PLANNED
    assert (whole["counts"], whole["outcome"], whole["exit_code"]) == ({"pass": 3}, "pass", 0)
    assert (whole["started"], whole["duration_s"]) == ("t1", 4.0)
    assert whole["argv"] == ["mm-lora", "verify"]
    assert whole["tables"]["t"]["rows"] == [["x", "1", "2"]]
    assert [one["log"] for one in whole["servers"]] == ["one/servers/1/log", "two/servers/1/log"]
    assert "shard" not in whole


def test_a_failure_in_one_shard_fails_the_whole() -> None:
    failed = {**ONE, "checks": [check("c/m/z", "fail")]}
    assert merged({"one": failed, "two": TWO})["exit_code"] == 1


@pytest.mark.parametrize(
    ("shards", "why"),
    [
        ({"one": ONE}, r"shards \[2\] of 2 are missing"),
        ({"one": ONE, "again": ONE, "two": TWO}, "more than once"),
        ({"one": ONE, "two": {**TWO, "seed": 1}}, "differ in seed"),
        (
            {"one": ONE, "two": {**TWO, "tool": {"name": "mm-lora", "version": "2"}}},
            "differ in tool",
        ),
        (
            {"one": {**ONE, "vllm": {"version": "1"}}, "two": {**TWO, "vllm": {"version": "2"}}},
            "verified vLLM",
        ),
        ({"one": ONE, "two": {**TWO, "argv": ["mm-lora", "verify", "--full"]}}, "different runs"),
        ({"one": ONE, "two": shard(2, "a/m/x")}, "1 checks are missing from every shard: b/m/y"),
        ({"one": ONE, "two": shard(2, *PLANNED)}, "in several shards: c/m/z"),
        ({"one": ONE, "two": {**TWO, "finished": False}}, "did not end"),
        ({"one": ONE, "two": {k: v for k, v in TWO.items() if k != "shard"}}, "is not a shard"),
        ({"one": ONE, "two": shard(2, "a/m/x", "b/m/y", count=3)}, "different runs"),
    ],
)
def test_what_is_not_one_whole_run_is_refused(shards: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        merged(shards)


def test_a_shard_without_a_server_is_merged_like_any_other() -> None:
    empty = shard(2, count=2, note="no server falls into this shard")
    whole = merged({"one": shard(1, *PLANNED), "two": {**empty, "servers": []}})
    assert [one["id"] for one in whole["checks"]] == PLANNED
    assert whole["exit_code"] == 0


@pytest.mark.parametrize(
    ("outcome", "strict", "code"),
    [
        ("error", False, 3),
        ("void", False, 3),
        ("skip", False, 0),
        ("known-defect", False, 0),
        ("known-defect", True, 1),
        ("fixed-upstream", False, 1),
    ],
)
def test_the_whole_ends_as_one_run_would(outcome: str, strict: bool, code: int) -> None:
    def said(report: dict[str, Any]) -> dict[str, Any]:
        return {**report, "argv": [*report["argv"], *(["--strict"] if strict else [])]}

    one = {**ONE, "checks": [check("c/m/z", outcome)]}
    assert merged({"one": said(one), "two": said(TWO)})["exit_code"] == code
