"""Starts the worker, a process with torch, in any interpreter and gives it jobs. No torch here."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mm_lora.core.errors import BuildError
from mm_lora.core.resources import harness_dir

TAIL_LINES = 15


class WorkerClient:
    """One worker process, started with the first job and used for all later ones.

    `python`: an interpreter that has torch, transformers and, for adapters, peft; nothing else of
    the harness' needs. Ends with `close`, at the end of a `with`, and when a call does not return
    normally. Safe to use from several threads: jobs wait for each other.
    """

    def __init__(
        self,
        python: Path,
        say: Callable[[str], None] = lambda line: None,
        *,
        timeout_s: float = 600,
        grace_s: float = 5,
    ) -> None:
        self.python = Path(python)
        self._say = say
        self._timeout_s = timeout_s
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None
        self._kept = contextlib.ExitStack()
        self._pending = b""
        self._jobs = 0
        self._waiting = 0
        self._closed = False

    def call(
        self, kind: str, *, timeout_s: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """The job's answer, or a BuildError with the worker's last lines."""
        self._waiting += 1
        with self._lock:
            self._waiting -= 1
            if self._closed:
                raise BuildError(f"the worker was closed before its job '{kind}'")
            process = self._started()
            self._jobs += 1
            job = {"id": self._jobs, "kind": kind, **arguments}
            try:
                answer = self._exchange(process, job, timeout_s or self._timeout_s)
            except BaseException:
                self._end(grace_s=0)
                raise
            if answer["ok"]:
                return {key: value for key, value in answer.items() if key not in ("id", "ok")}
            raise self._error(f"the worker's job '{kind}' failed: {answer['error']}")

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for a job: work ahead of need should let them go first."""
        return self._waiting > 0

    def close(self) -> None:
        """End the worker and its process group for good. Again is fine.

        A job that another thread is waiting for is not waited for: it ends with a BuildError.
        """
        self._closed = True
        process = self._process
        if process is not None and self._lock.locked():
            _signal_group(process, signal.SIGKILL)
        with self._lock:
            self._end(self._grace_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None:
            return self._process
        # A folder with this package alone: where the harness is installed, its own folder is all
        # of site-packages, whose torch must not reach another interpreter.
        folder = self._kept.enter_context(tempfile.TemporaryDirectory(prefix="mm-lora-worker-"))
        package = harness_dir() / "mm_lora"
        Path(folder, package.name).symlink_to(package, target_is_directory=True)
        search = os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))
        self._log = Path(folder, "log")
        self._say(f"starting the worker: {self.python} -m mm_lora.truth.worker")
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [str(self.python), "-m", "mm_lora.truth.worker"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env={
                        **os.environ,
                        "PYTHONPATH": search,
                        "PYTHONSAFEPATH": "1",  # not the caller's folder: it may hold a torch.py
                        "HF_HUB_OFFLINE": "1",
                        "TOKENIZERS_PARALLELISM": "false",
                        # A miniature's layers are too small to share: beside a busy server, two
                        # threads that wait for each other took 50 times as long as one.
                        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
                    },
                    start_new_session=True,
                )
        except OSError as error:
            self._end(grace_s=0)
            raise BuildError(
                f"the worker's interpreter cannot be run: {error}", f"the path {self.python}"
            ) from None
        return self._process

    def _exchange(
        self, process: subprocess.Popen[bytes], job: dict[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its death shows below, with its last lines
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._line(process, job["kind"], deadline))
        return answer

    def _line(self, process: subprocess.Popen[bytes], kind: str, deadline: float) -> bytes:
        """The next line of stdout; BuildError when the worker dies or the time is over."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._error(f"the worker's job '{kind}' did not end in time")
                if not selector.select(min(left, 1.0)):
                    continue
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    code = process.wait()
                    raise self._error(f"the worker died in its job '{kind}' ({_ending(code)})")
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _error(self, what: str) -> BuildError:
        tail = self._tail()
        return BuildError(
            f"{what}\n{tail}" if tail else what,
            f"that {self.python} has torch, transformers and peft; memory and disk space",
        )

    def _tail(self) -> str:
        """The last lines of what the worker and its libraries printed."""
        if self._log is None:
            return ""
        with self._log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - (1 << 14)))
            lines = log.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def _end(self, grace_s: float) -> None:
        process, self._process, self._pending = self._process, None, b""
        if process is not None:
            _end_group(process, grace_s)
        self._log = None
        self._kept.close()


def _end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Terminate, then kill the worker's own process group. It keeps nothing that could be lost."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    _signal_group(process, signal.SIGTERM)
    try:
        process.wait(timeout=grace_s)
    except subprocess.TimeoutExpired:
        _signal_group(process, signal.SIGKILL)
        process.wait()


def _signal_group(process: subprocess.Popen[bytes], signal_number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal_number)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = ", perhaps out of memory" if code == -signal.SIGKILL else ""
    return f"signal {signal.Signals(-code).name}{hint}"
