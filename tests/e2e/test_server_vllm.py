"""Real vLLM: both starts give the same answers, and whatever is killed, nothing is left."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from mm_lora.adapters.sets import named
from mm_lora.cli.commands.serve import picture_request
from mm_lora.core.asking import BASE
from mm_lora.core.errors import PatchError, ServerDied
from mm_lora.core.images import dice, png_bytes
from mm_lora.families.models import resolve
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Wish, family_flags, server_spec
from mm_lora.run.profiles import load
from mm_lora.run.settings import Settings
from mm_lora.serving.server import inside_folder, process, remains
from mm_lora.serving.server.cradle import Cradles
from mm_lora.serving.server.process import VllmServer
from mm_lora.truth.build import Builder

PYTHON = Path(sys.executable)
ADAPTERS = ("all", "projector")
GONE_S = 20.0
Files = tuple[Path, dict[str, Path]]


@pytest.fixture(scope="module")
def files() -> Files:
    """The miniature Scout and two adapters, from the cache."""
    with Builder(PYTHON) as builder:
        model = resolve("scout")
        built = builder.adapters(model, [named(model.family, name) for name in ADAPTERS])
        return builder.checkpoint(model), {name: one.path for name, one in built.items()}


def make(
    files: Files, folder: Path, start: str = "auto", cradles: Cradles | None = None, **flags: str
) -> VllmServer:
    wish = Wish(
        model="scout",
        flags=tuple((k.replace("_", "-"), v) for k, v in flags.items()),
        defaults=family_flags(resolve("scout").family),
    )
    options = RunOptions(settings=Settings(start=start))
    spec = server_spec(wish, ADAPTERS, load("cpu"), options)
    return VllmServer(
        spec,
        python=PYTHON,
        checkpoint=files[0],
        adapters=files[1],
        folder=folder,
        ready_timeout_s=300,
        cradles=cradles,
    )


def answers(server: VllmServer) -> dict[str, Any]:
    """Token and logprob of every token of every model's answer to one picture question."""
    client = OpenAI(base_url=f"{server.base_url}/v1", api_key="none", timeout=120)
    found = {}
    for name in (BASE, *server.spec.adapters):
        request: dict[str, Any] = picture_request(name, png_bytes(dice((700, 400))))
        request |= {"logprobs": True, "extra_body": {"ignore_eos": True}}
        (choice,) = client.chat.completions.create(**request).choices
        found[name] = [(one.token, one.logprob) for one in choice.logprobs.content or ()]
        assert len(found[name]) == 16
    return found


def left(server: VllmServer) -> set[int]:
    assert server.pid is not None
    return remains.living(server.pid, server.folder / "inside.json")


def wait_until_gone(server: VllmServer) -> float:
    began = time.monotonic()
    while left(server) and time.monotonic() - began < GONE_S:
        time.sleep(0.1)
    assert left(server) == set()
    return time.monotonic() - began


@pytest.fixture(scope="module")
def fast(files: Files, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """A server that starts fast."""
    with make(files, tmp_path_factory.mktemp("fast"), "fast") as server:
        yield server


@pytest.fixture(scope="module")
def expected(fast: VllmServer) -> dict[str, Any]:
    """What a server answers before it has cached anything: later answers differ in a last bit."""
    return answers(fast)


def test_every_process_reports_its_patches(fast: VllmServer) -> None:
    assert fast.start_mode == "fast"
    assert {one["role"] for one in fast.processes} == {"api-server", "engine-core", "worker"}
    rows = {row["id"]: row for row in fast.patches}
    for identity in ("llama4-unfold-contiguous", "cpu-moe-experts"):
        assert rows[identity]["state"] == "applied"
        assert "worker" in rows[identity]["applied_in"]


def test_the_log_says_that_the_tower_takes_lora(fast: VllmServer) -> None:
    log = fast.log.read_text(encoding="utf-8", errors="replace")
    assert "LoRA for the tower and connector" in log
    # vLLM says "will be ignored" of compiler settings too.
    assert not re.search(r"(?i)lora[^\n]*will be ignored", log)


def test_plain_and_fast_give_the_same_bits(
    fast: VllmServer, expected: dict[str, Any], files: Files, tmp_path: Path
) -> None:
    assert len({str(answer) for answer in expected.values()}) == len(expected)
    with make(files, tmp_path, "plain") as plain:
        assert plain.start_mode == "plain"
        assert answers(plain) == expected
        assert fast.ready_s is not None
        assert plain.ready_s is not None
        assert fast.ready_s < plain.ready_s
    assert left(plain) == set()


def test_forked_servers_give_the_same_bits_in_folders_of_their_own(
    expected: dict[str, Any], files: Files, tmp_path: Path, cradles: Cradles
) -> None:
    servers = [make(files, tmp_path / name, "fast", cradles) for name in ("first", "second")]
    with servers[0], servers[1]:
        assert len({parent_of(server) for server in servers}) == 1
        for server in servers:
            assert server.start_mode == "fast"
            assert len(left(server)) >= 3
            assert answers(server) == expected
            assert "Application startup complete" in server.log.read_text(encoding="utf-8")
            links = {os.readlink(f"/proc/{pid}/cwd") for pid in left(server)}
            assert links == {str(server.folder)}
        servers[0].stop()
        assert left(servers[0]) == set()
        assert answers(servers[1]).keys() == expected.keys()
        assert servers[1].environment["TMPDIR"] != servers[0].environment["TMPDIR"]
    assert left(servers[1]) == set()


def parent_of(server: VllmServer) -> int:
    stat = Path(f"/proc/{server.pid}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])


def test_a_forked_server_ends_with_its_cradle_and_one_given_up_leaves_nothing(
    files: Files, tmp_path: Path, cradles: Cradles
) -> None:
    with make(files, tmp_path / "first", "fast", cradles) as server:
        os.kill(parent_of(server), signal.SIGKILL)
        wait_until_gone(server)
        with pytest.raises(ServerDied, match="killed from outside"):
            server.poll()
    # The next cradle imports vLLM for two servers, one of them is not wanted any more.
    given_up, other = (make(files, tmp_path / name, "fast", cradles) for name in ("a", "b"))
    given_up.start()
    with other:
        assert given_up.pid is not None
        given_up.stop()
        assert left(given_up) == set()
        early = make(files, tmp_path / "c", "fast", cradles)
        early.start()
        early.stop()
        with pytest.raises(ServerDied, match="stopped or never started"):
            early.poll()
        assert remains.living(None, early.folder / "inside.json") == set()
        other.poll()
    assert left(other) == set()


def test_a_start_given_up_while_vllm_is_imported_is_never_made(
    files: Files, tmp_path: Path
) -> None:
    cradles = Cradles()
    server = make(files, tmp_path, "fast", cradles)
    server.start()
    began = time.monotonic()
    server.stop()
    cradles.close()
    assert time.monotonic() - began < 5
    assert server.pid is None
    assert list(server.folder.glob("processes/*.json")) == []


@pytest.mark.parametrize("role", ["api-server", "worker"])
def test_nothing_outlives_a_killed_process(
    files: Files, tmp_path: Path, cradles: Cradles, role: str
) -> None:
    with make(files, tmp_path, cradles=cradles) as server:
        (pid,) = (one["pid"] for one in server.processes if one["role"] == role)
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(server)
        with pytest.raises(ServerDied, match="killed from outside") as caught:
            server.poll()
        assert caught.value.by_signal == signal.SIGKILL


def serve(tmp_path: Path) -> "subprocess.Popen[str]":
    """`mm-lora serve` in a process of its own, ready."""
    serving = subprocess.Popen(
        [sys.executable, "-m", "mm_lora", "serve", "scout", "--adapter", "all"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    assert serving.stdout is not None
    for line in serving.stdout:
        if line.startswith("Ctrl-C"):
            return serving
    serving.communicate()
    raise AssertionError("it ended early")


def served_processes(tmp_path: Path) -> list[int]:
    """Living processes of the server below `tmp_path`, by the reports of its processes."""
    pids = [int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("*/processes/*.json")]
    alive = []
    for pid in pids:
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
            if stat.rpartition(")")[2].split()[0] != "Z":
                alive.append(pid)
    return alive


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_the_server_ends_with_its_harness(
    files: Files, tmp_path: Path, number: signal.Signals, exit_code: int
) -> None:
    with serve(tmp_path) as serving:
        assert len(served_processes(tmp_path)) == 3
        serving.send_signal(number)
        assert serving.wait(30) == exit_code
    deadline = time.monotonic() + GONE_S
    while served_processes(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert served_processes(tmp_path) == []


def test_a_patch_whose_hook_point_is_gone_fails_the_start(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> Path:
        written = inside_folder.write_plugin_folder(folder)
        patch = written / "mm_lora_inside" / "moe_experts.py"
        text = patch.read_text(encoding="utf-8")
        patch.write_text(text.replace(":select_unq", ":renamed_unq"), encoding="utf-8")
        return written

    monkeypatch.setattr(process, "write_plugin_folder", write)
    server = make(files, tmp_path)
    with pytest.raises(PatchError, match=r"patch cpu-moe-experts .*renamed_unq.* gone"), server:
        pass
    assert left(server) == set()


def test_damaged_weights_and_unknown_flags(files: Files, tmp_path: Path, cradles: Cradles) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in files[0].iterdir():
        (damaged / path.name).write_bytes(path.read_bytes())
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    server = make((damaged, files[1]), tmp_path / "a", cradles=cradles)
    with pytest.raises(ServerDied, match="weights cannot be read"), server:
        pass
    assert left(server) == set()
    server = make(files, tmp_path / "b", cradles=cradles, frobnicate="3")
    with pytest.raises(ServerDied, match="does not know --frobnicate"), server:
        pass
    assert left(server) == set()


def test_rank_above_the_maximum(files: Files, tmp_path: Path, cradles: Cradles) -> None:
    server = make(files, tmp_path, cradles=cradles, max_lora_rank="1")
    with pytest.raises(ServerDied, match="rank 8, above"), server:
        pass
    assert left(server) == set()
