"""VllmServer against a stand-in for vLLM: every way to end, and nothing left after any of them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mm_lora.core.errors import PatchError, ServerDied, ServerError, ServerTimeout, UsageError
from mm_lora.serving.server import remains
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.spec import ServerSpec

STUB = Path(__file__).with_name("stub_server.py")
Make = Callable[..., VllmServer]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A server of the stub that behaves as told, with one adapter."""
    interpreter = tmp_path / "python"
    interpreter.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STUB}" "$@"\n')
    interpreter.chmod(0o755)
    for folder, name in (("model", "config.json"), ("adapter", "adapter_config.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{}")

    def make(stub: str = "", *, timeout_s: float = 20, port: int | None = None) -> VllmServer:
        spec = ServerSpec(model="scout", adapters=("all",), env=(("STUB", stub),))
        return VllmServer(
            spec,
            python=interpreter,
            checkpoint=tmp_path / "model",
            adapters={"all": tmp_path / "adapter"},
            folder=tmp_path / "server",
            ready_timeout_s=timeout_s,
            grace_s=0.5,
            port=port,
        )

    return make


def left(server: VllmServer) -> set[int]:
    assert server.pid is not None
    return remains.living(server.pid, server.folder / "inside.json")


def test_serves_and_leaves_nothing(make: Make) -> None:
    with make() as server:
        assert server.ready_s is not None
        assert server.ready_s < 10
        assert len(left(server)) == 3
        assert [one["role"] for one in server.processes] == ["api-server", "engine-core", "worker"]
        assert "--lora-modules" in server.command
        temporary = Path(server.environment["TMPDIR"])
        assert temporary.is_dir()
    assert left(server) == set()
    assert not temporary.exists()
    with pytest.raises(ServerDied, match="not running"):
        server.poll()
    server.stop()


def test_deaf_servers_are_killed(make: Make) -> None:
    with make("deaf") as server:
        began = time.monotonic()
    assert time.monotonic() - began < 8
    assert left(server) == set()


@pytest.mark.parametrize(
    ("stub", "text", "signalled"),
    [("die", "exit code 1: ValueError: the cause", None), ("killed", "signal 9", 9)],
)
def test_early_death_is_seen_at_once(
    make: Make, stub: str, text: str, signalled: int | None
) -> None:
    server = make(stub)
    with pytest.raises(ServerDied, match=text) as caught, server:
        pass
    assert caught.value.by_signal == signalled
    assert "while starting" in str(caught.value)
    assert str(server.log) in caught.value.check
    assert left(server) == set()


def test_a_slow_start_is_a_timeout_not_a_death(make: Make) -> None:
    server = make("never-ready", timeout_s=1)
    with pytest.raises(ServerTimeout, match="not ready after 1 s"), server:
        pass
    assert left(server) == set()


@pytest.mark.parametrize("role", ["api-server", "engine-core", "worker"])
def test_a_silent_process_is_an_error(make: Make, role: str) -> None:
    server = make(f"no-{role}")
    with pytest.raises(PatchError, match="no report from"), server:
        pass
    assert left(server) == set()


def test_a_missing_adapter_in_the_list_is_an_error(make: Make) -> None:
    server = make("no-adapters")
    with pytest.raises(ServerError, match="does not list all"), server:
        pass
    assert left(server) == set()


def test_a_port_taken_meanwhile_is_tried_again(make: Make) -> None:
    with make("port-taken-once") as server:
        assert (server.folder / "tried").exists()
        assert server.port


def test_a_named_port_that_is_taken_is_refused_before_the_start(make: Make) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = make(port=other.getsockname()[1])
        with pytest.raises(UsageError, match="is in use"):
            server.start()
    assert server.pid is None


def test_an_exception_in_the_body_stops_it(make: Make) -> None:
    server = make()
    with pytest.raises(KeyboardInterrupt), server:
        raise KeyboardInterrupt
    assert left(server) == set()


def test_stopped_before_it_was_started(make: Make) -> None:
    server = make()
    server.stop()
    with pytest.raises(ServerError, match="stopped before"):
        server.start()


def test_death_while_serving(make: Make) -> None:
    with make() as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        time.sleep(0.5)
        with pytest.raises(ServerDied, match=r"while serving, signal 9 \(SIGKILL\)"):
            server.poll()
        assert len(left(server)) == 2
    assert left(server) == set()


def test_a_folder_that_cannot_be_written(make: Make, tmp_path: Path) -> None:
    (tmp_path / "server").write_text("a file")
    with pytest.raises(ServerError, match="could not be launched"):
        make().start()


def test_not_an_interpreter(make: Make, tmp_path: Path) -> None:
    (tmp_path / "python").write_text("not a program")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(ServerError, match="could not be launched"):
        make().start()


def test_an_interpreter_without_vllm(make: Make, tmp_path: Path) -> None:
    server = make()
    (tmp_path / "python").unlink()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    (tmp_path / "python").symlink_to(tmp_path / "env" / "bin" / "python")
    server = make()
    with pytest.raises(ServerDied, match="no vLLM") as caught, server:
        pass
    assert "--server-python" in caught.value.check
