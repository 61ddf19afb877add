"""The cradles of a run: processes that import vLLM once and are forked for each server.

A question to a model class of vLLM is a fork as well: see `inside/hook_query.py`.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_lora.serving.server.child import Child, started
from mm_lora.serving.server.command import (
    ALIVE_VARIABLE,
    CONFIG_VARIABLE,
    CRADLE_MODULE,
    FAST_MODULE,
    HOOKS_MODULE,
)

_TURN_S = 0.05
_END_S = 5.0
_LONGEST_ANSWER = 256
# What importing vLLM does not read, or a forked server is told again.
_OF_A_SERVER = (
    ALIVE_VARIABLE,
    CONFIG_VARIABLE,
    "HF_MODULES_CACHE",
    "OMP_NUM_THREADS",
    "PYTEST_CURRENT_TEST",  # the check under way
    "TMPDIR",
    "VLLM_CPU_OMP_THREADS_BIND",
    "VLLM_LORA_RESOLVER_CACHE_DIR",
)


class Cradles:
    """One cradle for each interpreter and environment that servers are started with."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cradles: dict[object, _Cradle] = {}

    def fork(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        alive: int | None = None,
    ) -> Child | None:
        """Start `command` in the log's folder; returns at once. None for a plain start.

        The first start of an environment imports vLLM, with its output in this server's log.
        `alive`: a descriptor for the server's watchdog. Raises OSError.
        """
        if not {FAST_MODULE, HOOKS_MODULE} & set(command):
            return None
        return self._of(command[0], environment, log).fork(command, environment, log, alive)

    def begin(self, python: Path, environment: Mapping[str, str], log: Path) -> None:
        """Import vLLM ahead of the first start with this environment. Raises OSError."""
        self._of(str(python), environment, log)

    def _of(self, python: str, environment: Mapping[str, str], log: Path) -> "_Cradle":
        own = {name: value for name, value in environment.items() if name not in _OF_A_SERVER}
        # The first folder is the server's own copy of the plugin: all copies are the same.
        paths = own["PYTHONPATH"].partition(os.pathsep)[2]
        key = (python, tuple(sorted({**own, "PYTHONPATH": paths}.items())))
        with self._lock:
            cradle = self._cradles.get(key)
            if cradle is not None and not cradle.is_alive():
                cradle.close()
                cradle = None
            if cradle is None:
                cradle = self._cradles[key] = _Cradle(python, own, log)
            return cradle

    def close(self) -> None:
        """End them, and wait; their servers were stopped before."""
        with self._lock:
            cradles = list(self._cradles.values())
            self._cradles.clear()
        for cradle in cradles:
            cradle.close()


class _Cradle:
    def __init__(self, python: str, environment: Mapping[str, str], log: Path) -> None:
        self._lock = threading.Lock()
        self._pids: dict[int, int] = {}
        self._codes: dict[int, int] = {}
        self._asked = 0
        self._gone = False
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        with theirs:
            command = [python, "-m", CRADLE_MODULE, str(theirs.fileno())]
            self._process = started(command, environment, log, (theirs.fileno(),))

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fork(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, alive: int | None
    ) -> "Forked":
        with self._lock:
            self._asked += 1
            number = self._asked
        request = {
            "number": number,
            "command": list(command),
            "environment": dict(environment),
            "folder": str(log.parent),
            "log": str(log),
        }
        self._send(request, () if alive is None else (alive,))
        return Forked(self, number)

    def cancel(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._send({"number": number, "cancel": True}, ())

    def known(self, number: int) -> tuple[int | None, int | None]:
        """The server's pid and exit code, each None while it is not known."""
        with self._lock:
            while not self._gone and self._read():
                pass
            code = self._codes.get(number)
            if code is None and self._gone:
                code = self._codes[number] = self._process.wait() or -signal.SIGKILL
            return self._pids.get(number), code

    def close(self) -> None:
        """A cradle that is still importing would not see that nobody listens any more."""
        with self._lock:
            while not self._gone and self._read():
                pass
            self._gone = True
            self._line.close()
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
        socket.send_fds(self._line, [json.dumps(request).encode()], descriptors)

    def _read(self) -> bool:
        """Take in one answer; False if there is none now."""
        try:
            message = self._line.recv(_LONGEST_ANSWER)
        except BlockingIOError:
            return False
        except OSError:
            message = b""
        if not message:
            self._gone = True
            return False
        told = json.loads(message)
        if "pid" in told:
            self._pids[told["number"]] = told["pid"]
        else:
            self._codes[told["number"]] = told["code"]
        return True


class Forked:
    """A server's first process that is a cradle's child, not ours. See `Child`."""

    def __init__(self, cradle: _Cradle, number: int) -> None:
        self._cradle = cradle
        self._number = number
        self._cancelled = False

    @property
    def pid(self) -> int | None:
        """None while its cradle is busy."""
        return self._cradle.known(self._number)[0]

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None before it has ended."""
        return -signal.SIGTERM if self._cancelled else self._cradle.known(self._number)[1]

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, or subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a forked server", timeout or 0.0)
            time.sleep(_TURN_S)
        return code

    def terminate(self) -> None:
        """SIGTERM; before it was forked, it never will be."""
        pid, code = self._cradle.known(self._number)
        if pid is None and code is None:
            self._cradle.cancel(self._number)
            self._cancelled = True
        elif pid is not None and code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
