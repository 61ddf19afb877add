"""Reports of vLLM's processes: what is missing or failed must not pass as ready."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import PatchError
from mm_lora.serving.server.readiness import (
    check_reports,
    patch_rows,
    read_reports,
    start_mode,
    workers_wanted,
)
from mm_lora.serving.server.spec import ServerSpec

SPEC = ServerSpec(model="scout")
TWO = ServerSpec(model="scout", flags=(("tensor-parallel-size", "2"),))


def report(role: str, pid: int = 1, state: str = "applied", **more: Any) -> dict[str, Any]:
    patch = {"id": "p", "kind": "compat", "state": state, "waiting_for": []}
    if state == "error":
        patch["error"] = "hook point m:f is gone"
    return {
        "role": role,
        "pid": pid,
        "vllm": "0.32.0",
        "platform": "cpu",
        "holds_worker": False,
        "patches": [patch],
        **more,
    }


API, ENGINE, WORKER = report("api-server"), report("engine-core"), report("worker")


def test_all_reported() -> None:
    check_reports(SPEC, [API, ENGINE, WORKER])


@pytest.mark.parametrize(
    ("reports", "missing"),
    [
        ([], "api-server"),
        ([ENGINE, WORKER], "api-server"),
        ([API, WORKER], "engine-core"),
        ([API, ENGINE], "1 of 1 workers"),
        (
            [report("api-server", start="fast"), report("engine-core", holds_worker=True)],
            "1 of 1 workers",
        ),
    ],
)
def test_silence_is_an_error(reports: list[dict[str, Any]], missing: str) -> None:
    with pytest.raises(PatchError, match=f"no report from .*{missing}"):
        check_reports(SPEC, reports)


def test_every_rank_must_report() -> None:
    assert workers_wanted(TWO) == 2
    with pytest.raises(PatchError, match="1 of 2 workers"):
        check_reports(TWO, [API, ENGINE, WORKER])
    check_reports(TWO, [API, ENGINE, WORKER, report("worker", 2)])


def test_a_fast_engine_core_must_have_made_its_worker() -> None:
    fast = report("api-server", start="fast")
    with pytest.raises(PatchError, match="1 of 1 workers"):
        check_reports(SPEC, [fast, report("engine-core", holds_worker=True)])
    check_reports(SPEC, [fast, report("engine-core", holds_worker=True, made_worker=True)])


def test_one_gpu_has_its_worker_in_the_engine_core() -> None:
    check_reports(SPEC, [API, report("engine-core", holds_worker=True, platform="cuda")])


def test_a_failed_patch_names_patch_process_and_hook_point() -> None:
    with pytest.raises(PatchError, match=r"patch p failed in the worker 5 .*m:f is gone"):
        check_reports(SPEC, [API, ENGINE, report("worker", 5, "error")])


def test_a_failed_plugin_is_an_error() -> None:
    with pytest.raises(PatchError, match=r"plugin failed in the engine-core .*UnknownPatch"):
        check_reports(SPEC, [API, report("engine-core", error="UnknownPatch: x"), WORKER])


def test_patch_rows_take_the_worst_state() -> None:
    (row,) = patch_rows([report("api-server", state="waiting"), ENGINE, WORKER])
    assert row == {
        "id": "p",
        "kind": "compat",
        "state": "applied",
        "applied_in": ["engine-core", "worker"],
    }
    (row,) = patch_rows([ENGINE, report("worker", state="error")])
    assert (row["state"], row["error"]) == ("error", "hook point m:f is gone")


def test_start_mode_is_what_the_api_server_says() -> None:
    assert start_mode([report("api-server", start="fast"), ENGINE]) == "fast"
    assert start_mode([API]) == "plain"
    assert start_mode([]) == "plain"


def test_reports_are_read_in_order_and_halves_left_out(tmp_path: Path) -> None:
    for one in (WORKER, ENGINE, API):
        (tmp_path / f"{one['role']}-1.json").write_text(json.dumps(one))
    (tmp_path / "worker-2.json").write_text('{"role": "wor')
    assert [one["role"] for one in read_reports(tmp_path)] == [
        "api-server",
        "engine-core",
        "worker",
    ]
