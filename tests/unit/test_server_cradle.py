"""Both ends of the line between the harness and a cradle, with nothing forked."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mm_lora.inside import cradle as inside
from mm_lora.serving.server import cradle
from mm_lora.serving.server.command import FAST_MODULE, HOOKS_MODULE, PLAIN_MODULE
from mm_lora.serving.server.shared_import import beside
from mm_lora.serving.server.spec import ServerSpec

COMMAND = ["/x/python", "-m", FAST_MODULE, "--model", "m"]


class FakeProcess:
    """In place of the cradle's process: the test holds its end of the line."""

    made: list["FakeProcess"]

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        self.command, self.environment = command, options["env"]
        self.line = socket.socket(fileno=os.dup(options["pass_fds"][0]))
        self.code: int | None = None
        self.made.append(self)

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        self.line.close()
        self.code = self.code if self.code is not None else 0
        return self.code

    def terminate(self) -> None:
        self.code = -15

    kill = terminate

    def request(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line.recv(1 << 18))
        return found

    def say(self, **told: int) -> None:
        self.line.send(json.dumps(told).encode())


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[FakeProcess]:
    made: list[FakeProcess] = []
    monkeypatch.setattr(FakeProcess, "made", made, raising=False)
    monkeypatch.setattr(subprocess, "Popen", FakeProcess)
    return made


@pytest.fixture
def cradles(processes: list[FakeProcess]) -> Iterator[cradle.Cradles]:
    found = cradle.Cradles()
    yield found
    found.close()


def environment(**own: str) -> dict[str, str]:
    return {"PYTHONPATH": f"/{own.get('TMPDIR', 'a')}/plugin{os.pathsep}/theirs", "A": "1"} | own


def fork(cradles: cradle.Cradles, tmp_path: Path, changes: Mapping[str, str]) -> cradle.Child:
    found = cradles.fork(COMMAND, environment(**changes), tmp_path / "server.log")
    assert found is not None
    return found


def test_a_plain_start_has_no_cradle(
    cradles: cradle.Cradles, processes: list[FakeProcess], tmp_path: Path
) -> None:
    command = ["/x/python", "-m", PLAIN_MODULE]
    assert cradles.fork(command, environment(), tmp_path / "server.log") is None
    assert processes == []


def test_servers_share_a_cradle_unless_importing_could_differ(
    cradles: cradle.Cradles, processes: list[FakeProcess], tmp_path: Path
) -> None:
    fork(cradles, tmp_path, {"TMPDIR": "a", "MM_LORA_INSIDE": "a", "PYTEST_CURRENT_TEST": "a"})
    fork(cradles, tmp_path, {"TMPDIR": "b", "MM_LORA_INSIDE": "b", "OMP_NUM_THREADS": "2"})
    (one,) = processes
    assert one.command[:3] == ["/x/python", "-m", "mm_lora_inside.cradle"]
    assert one.environment.keys() == {"PYTHONPATH", "A"}
    assert [one.request()["number"], one.request()["number"]] == [1, 2]
    fork(cradles, tmp_path, {"VLLM_LOGGING_LEVEL": "DEBUG"})
    assert len(processes) == 2


def test_a_question_to_a_class_is_a_fork_of_what_its_server_is_forked_from(
    cradles: cradle.Cradles, processes: list[FakeProcess], tmp_path: Path
) -> None:
    (tmp_path / "plugin").mkdir()
    launch = beside(ServerSpec(model="m", env=(("A", "1"),)), (), cradles)
    command = ["/x/python", "-m", HOOKS_MODULE, "question", "answer"]
    child = launch(command, tmp_path / "plugin", tmp_path / "log")
    (one,) = processes
    request = one.request()
    assert (request["command"], request["folder"]) == (command, str(tmp_path))
    assert json.loads((tmp_path / "inside.json").read_text(encoding="utf-8"))["patches"] == []
    one.say(number=1, pid=os.getpid())
    one.say(number=1, code=0)
    assert child.wait(1) == 0
    other = {**request["environment"], "TMPDIR": "t", "MM_LORA_INSIDE": "i"}
    other["PYTHONPATH"] = os.pathsep.join(
        ["/its/own/plugin", *other["PYTHONPATH"].split(os.pathsep)[1:]]
    )
    cradles.fork(COMMAND, other, tmp_path / "server.log")
    assert len(processes) == 1


def test_a_forked_server_is_known_by_what_its_cradle_says(
    cradles: cradle.Cradles, processes: list[FakeProcess], tmp_path: Path
) -> None:
    child = fork(cradles, tmp_path, {"TMPDIR": "t"})
    (one,) = processes
    request = one.request()
    assert (request["command"], request["folder"]) == (COMMAND, str(tmp_path))
    assert request["environment"]["TMPDIR"] == "t"
    assert (child.pid, child.poll()) == (None, None)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0)
    one.say(number=1, pid=os.getpid())
    assert (child.pid, child.poll()) == (os.getpid(), None)
    one.say(number=1, code=-9)
    assert child.wait(1) == -9
    child.terminate()  # it has ended: no signal to whoever has its pid now


def test_a_start_that_is_ended_early_is_cancelled(
    cradles: cradle.Cradles, processes: list[FakeProcess], tmp_path: Path
) -> None:
    child = fork(cradles, tmp_path, {})
    child.terminate()
    assert child.wait() == -15
    (one,) = processes
    one.request()
    assert one.request() == {"number": 1, "cancel": True}


def test_a_cradle_that_died_takes_its_servers_along_and_is_replaced(
    cradles: cradle.Cradles, processes: list[FakeProcess], tmp_path: Path
) -> None:
    child = fork(cradles, tmp_path, {})
    processes[0].code = 3
    processes[0].line.close()
    assert child.wait(1) == 3
    fork(cradles, tmp_path, {})
    assert len(processes) == 2


class Forks:
    """What the inside half does to its system; the server with the number n has the pid 100 + n."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forked = 0
        self.killed: list[int] = []
        self.ends: dict[int, int] = {}
        monkeypatch.setattr(os, "fork", self.fork)
        monkeypatch.setattr(os, "pidfd_open", self.pidfd_open)
        monkeypatch.setattr(os, "waitpid", lambda pid, _: (pid, 9))
        monkeypatch.setattr(os, "kill", lambda pid, _: self.killed.append(pid))

    def fork(self) -> int:
        self.forked += 1
        if self.forked == 3:
            raise OSError("no more processes")
        return 100 + self.forked

    def pidfd_open(self, pid: int) -> int:
        ours, self.ends[pid] = os.pipe()
        return ours


def test_the_cradle_forks_what_was_not_cancelled_and_tells_of_every_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forks = Forks(monkeypatch)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = tmp_path / "server.log"

    def send(**request: Any) -> None:
        ours.send(json.dumps(request).encode())

    for number in (1, 2, 3, 4):
        send(number=number, log=str(log))
    send(number=2, cancel=True)
    served = inside.Cradle(theirs, "")
    monkeypatch.setattr(served, "_say", lambda number, **told: said(number, **told))
    heard: list[tuple[int, dict[str, int]]] = []

    def said(number: int, **told: int) -> None:
        heard.append((number, told))
        if told == {"pid": 101}:
            send(number=1, cancel=True)  # it was forked before this was read
        if number == 4:
            os.close(forks.ends.pop(101))
        if "code" in told and number == 1:
            ours.close()

    assert served.serve() == ""
    os.close(forks.ends.pop(102))
    assert heard == [(1, {"pid": 101}), (3, {"pid": 102}), (4, {"code": 1}), (1, {"code": -9})]
    assert forks.killed == [101]
    assert "no process for this server: no more processes" in log.read_text(encoding="utf-8")
    theirs.close()
