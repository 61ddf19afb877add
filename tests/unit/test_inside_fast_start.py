"""What decides over a fast start, and what its children get; tests/e2e has the forking."""

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from mm_lora.inside import fast_start, fork_server


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `vllm` of files with the right names, found as a CPU build."""
    names = (*fast_start._COMMON, *fast_start._WORKER, fast_start.CONTEXT_MODULE)
    for name in (*names, fast_start.API_SERVER):
        path = tmp_path.joinpath(*name.split("."))
        if name == "vllm.model_executor.model_loader":
            path /= "__init__"
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("def get_mp_context():\n    pass\n")
    (tmp_path / "vllm" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.32.0+cpu")
    return tmp_path / "vllm"


def test_nothing_in_the_way(vllm: Path) -> None:
    assert fast_start.obstacle(["--model", "x"]) == ""


@pytest.mark.parametrize("flag", ["--numa-bind", "--data-parallel-size=2"])
def test_flags_in_the_way(vllm: Path, flag: str) -> None:
    assert flag.partition("=")[0] in fast_start.obstacle([flag])


def test_gone_hook_points_are_named(vllm: Path) -> None:
    (vllm / "utils" / "system_utils.py").write_text("")
    assert "vllm.utils.system_utils:get_mp_context is gone" in fast_start.obstacle([])
    (vllm / "v1" / "worker" / "cpu_worker.py").unlink()
    assert "vllm.v1.worker.cpu_worker is gone" in fast_start.obstacle([])


def test_gpu_builds_start_plain(vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_TARGET_DEVICE", raising=False)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.32.0")
    assert fast_start.obstacle([]) == "not a CPU build of vLLM"


def test_no_vllm_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert fast_start.obstacle([]) == "no package vllm"


def test_falling_back_says_why_and_insisting_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fast_start, "mode", {})
    config = tmp_path / "inside.json"
    monkeypatch.setenv("MM_LORA_INSIDE", str(config))
    config.write_text(json.dumps({"start": "auto"}))
    fast_start._be_plain("hook point x is gone")
    assert "plain start: hook point x is gone" in capsys.readouterr().err
    assert fast_start.mode == {"start": "plain", "start_reason": "hook point x is gone"}
    config.write_text(json.dumps({"start": "fast"}))
    with pytest.raises(SystemExit, match="not possible: hook point x is gone"):
        fast_start._be_plain("hook point x is gone")


def test_libraries_as_the_cpu_platform_preloads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gomp = tmp_path / "torch" / "lib" / "libgomp-a34.so.1"
    tcmalloc = tmp_path / "vllm" / "libs" / "libtcmalloc_minimal.so.4"
    for path in (gomp, tcmalloc):
        path.parent.mkdir(parents=True)
        path.write_text("")
    monkeypatch.setattr(fast_start, "_package_folder", lambda name: tmp_path / name)
    assert fast_start.libraries_to_preload("") == f"{tcmalloc}:{gomp}"
    assert fast_start.libraries_to_preload("/x.so") == f"{tcmalloc}:/x.so:{gomp}"
    assert fast_start.libraries_to_preload("/libiomp5.so") == f"{tcmalloc}:/libiomp5.so"
    both = "/libtcmalloc.so:/libgomp.so"
    assert fast_start.libraries_to_preload(both) == both


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, set()),
        ({"GOMP_CPU_AFFINITY": "0 2 3"}, {0, 2, 3}),
        ({"OMP_PLACES": "{4,5}"}, {4, 5}),
        ({"OMP_PLACES": "cores"}, set()),
        ({"KMP_AFFINITY": "granularity=fine,explicit,proclist=[1,7]"}, {1, 7}),
    ],
)
def test_bound_cpus(environment: dict[str, str], expected: set[int]) -> None:
    assert fork_server.bound_cpus(environment) == expected


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="its fork server wants a key")
def test_this_python_has_the_internals() -> None:
    assert fork_server.obstacle() == ""
