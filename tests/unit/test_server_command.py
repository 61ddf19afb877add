"""The command line and environment of a server."""

import os
from pathlib import Path

import pytest

from mm_lora.serving.server.command import build_command, build_environment
from mm_lora.serving.server.spec import ServerSpec

FOLDERS = {"all": Path("/a/all"), "odd": Path("/a/x=y")}


def command(spec: ServerSpec, fast: bool = False) -> list[str]:
    return build_command(
        spec,
        python=Path("/py"),
        checkpoint=Path("/model"),
        adapters=FOLDERS,
        port=8123,
        fast=fast,
    )


def environment(caller: dict[str, str], **changes: object) -> dict[str, str]:
    spec = ServerSpec(model="scout", **changes)  # type: ignore[arg-type]
    return build_environment(
        spec,
        caller=caller,
        plugin_folder=Path("/run/plugin"),
        config=Path("/run/inside.json"),
        working_folder=Path("/here"),
        temporary=Path("/tmp/short"),
    )


def test_command_in_full() -> None:
    spec = ServerSpec(
        model="scout",
        adapters=("all",),
        flags=(
            ("dtype", "float32"),
            ("enforce-eager", None),
            ("lora-target-modules", ("q", "o")),
            ("limit-mm-per-prompt", '{"image":4}'),
        ),
    )
    assert command(spec) == [
        *("/py", "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", "/model", "--served-model-name", "base"),
        *("--host", "127.0.0.1", "--port", "8123"),
        *("--dtype", "float32", "--enforce-eager", "--lora-target-modules", "q", "o"),
        *("--limit-mm-per-prompt", '{"image":4}'),
        *("--lora-modules", "all=/a/all"),
    ]


def test_a_default_adapter_is_named_by_its_folder() -> None:
    flags = (("default-mm-loras", '{"image": "all"}'),)
    spec = ServerSpec(model="scout", adapters=("all",), flags=flags)
    words = command(spec)
    assert words[words.index("--default-mm-loras") + 1] == '{"image": "/a/all"}'


def test_fast_start_is_another_module_with_the_same_arguments() -> None:
    spec = ServerSpec(model="scout", adapters=("all",))
    assert command(spec, fast=True)[2] == "mm_lora_inside.fast_start"
    assert command(spec, fast=True)[3:] == command(spec)[3:]


def test_without_adapters_no_lora_modules() -> None:
    assert "--lora-modules" not in command(ServerSpec(model="scout"))


def test_equals_sign_in_a_path_takes_the_json_form() -> None:
    assert command(ServerSpec(model="m", adapters=("odd",)))[-1] == (
        '{"name": "odd", "path": "/a/x=y"}'
    )


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("", "/run/plugin"),
        ("/lib", "/run/plugin:/lib"),
        ("/lib::rel", "/run/plugin:/lib:/here/rel"),
    ],
)
def test_python_path_is_extended(theirs: str, expected: str) -> None:
    assert os.pathsep == ":"
    assert environment({"PYTHONPATH": theirs})["PYTHONPATH"] == expected


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ({}, None),
        ({"VLLM_PLUGINS": "theirs"}, "theirs,mm_lora"),
        ({"VLLM_PLUGINS": ""}, "mm_lora"),
        ({"VLLM_PLUGINS": "a,mm_lora"}, None),
    ],
)
def test_plugins_are_appended_only_where_set(caller: dict[str, str], expected: str | None) -> None:
    assert environment(caller).get("VLLM_PLUGINS") == expected


def test_spec_wins_over_defaults_and_nothing_of_the_caller_is_copied() -> None:
    found = environment({"SECRET_TOKEN": "x"}, env=(("HF_HUB_OFFLINE", "0"),))
    assert found["HF_HUB_OFFLINE"] == "0"
    assert found["VLLM_NO_USAGE_STATS"] == "1"
    assert found["MM_LORA_INSIDE"] == "/run/inside.json"
    assert "SECRET_TOKEN" not in found


@pytest.mark.parametrize(
    ("bind", "caller", "threads"),
    [
        ("nobind", {}, "3"),
        ("nobind", {"OMP_NUM_THREADS": "8"}, None),
        ("0|1", {}, None),
        ("auto", {}, None),
    ],
)
def test_a_worker_without_cpus_of_its_own_leaves_one_to_the_others(
    monkeypatch: pytest.MonkeyPatch, bind: str, caller: dict[str, str], threads: str | None
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    found = environment(caller, env=(("VLLM_CPU_OMP_THREADS_BIND", bind),))
    assert found.get("OMP_NUM_THREADS") == threads
    assert environment(caller).get("OMP_NUM_THREADS") is None


def test_temporary_files_are_its_own() -> None:
    assert environment({"TMPDIR": "/theirs"})["TMPDIR"] == "/tmp/short"


def test_code_beside_a_checkpoint_is_copied_to_the_servers_own_folder() -> None:
    assert environment({"HF_MODULES_CACHE": "/home"})["HF_MODULES_CACHE"] == "/tmp/short/modules"
    found = environment({}, env=(("HF_MODULES_CACHE", "/mine"),))
    assert found["HF_MODULES_CACHE"] == "/mine"
