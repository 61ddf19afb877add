"""A multiprocessing fork server that is this process forked, so that vLLM is imported only once.

Python's own fork server is a fresh interpreter that imports everything again. Children are
started with the environment, threads and CPU binding that a spawned process would have.
"""

import atexit
import contextlib
import inspect
import multiprocessing.context
import multiprocessing.forkserver
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing import connection, process, resource_tracker, util
from typing import Any

from . import watchdog

_END_S = 2.0
_preloaded_libraries = ""


def obstacle() -> str:
    """Which of multiprocessing's internals is not as this module knows it; empty if none."""
    server = getattr(multiprocessing.forkserver, "_forkserver", None)
    names = ("_forkserver_address", "_forkserver_alive_fd", "_forkserver_pid")
    missing = [name for name in names if not hasattr(server, name)]
    parameters = list(inspect.signature(multiprocessing.forkserver.main).parameters)
    if parameters[:3] != ["listener_fd", "alive_r", "preload"] or "authkey_r" in parameters:
        missing.append("main(listener_fd, alive_r, preload)")
    return f"multiprocessing.forkserver has no {missing[0]}" if missing else ""


def start(preload: Callable[[], None]) -> None:
    """Fork the server off this process, which must have no threads yet.

    `preload` runs in it first; requests for children wait meanwhile. It ends when this process
    and all children have ended.
    """
    global _preloaded_libraries
    _preloaded_libraries = os.environ.get("LD_PRELOAD", "")
    resource_tracker.ensure_running()
    address = connection.arbitrary_address("AF_UNIX")  # type: ignore[attr-defined]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        if not util.is_abstract_socket_namespace(address):
            os.chmod(address, 0o600)
        listener.listen()
        alive_r, alive_w = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(alive_w)
            _serve(listener.fileno(), alive_r, preload)
    os.close(alive_r)
    server: Any = multiprocessing.forkserver._forkserver
    server._forkserver_address = address
    server._forkserver_alive_fd = alive_w
    server._forkserver_pid = pid
    atexit.register(stop)


def stop() -> None:
    """Let the server go and wait for it, so that it is no zombie; at the end of its parent."""
    server: Any = multiprocessing.forkserver._forkserver
    pid, server._forkserver_pid = server._forkserver_pid, None
    if pid is not None:
        os.close(server._forkserver_alive_fd)
        _wait_for(pid)


def _wait_for(pid: int) -> None:
    """Reap a child, or all of them (-1), but not for long."""
    deadline = time.monotonic() + _END_S
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            ended, _ = os.waitpid(pid, os.WNOHANG)
            if ended == pid:
                return
            if ended == 0:
                time.sleep(0.02)


def _serve(listener: int, alive_r: int, preload: Callable[[], None]) -> None:
    """The forked process: never returns, never runs the exit handlers of its parent."""
    code = 1
    try:
        watchdog.drop_pipe()
        tracker: Any = resource_tracker._resource_tracker
        tracker._pid = None  # the parent's child, not ours to wait for
        preload()
        multiprocessing.forkserver.main(listener, alive_r, [])
    except SystemExit:
        code = 0
        _wait_for(-1)  # the last child ends together with the server
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


class ForkedProcess(process.BaseProcess):
    """A child of the fork server that sees what a spawned child of its parent would see."""

    _start_method = "forkserver"
    _environment: dict[str, str] | None = None

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802 - multiprocessing's own name
        # Libraries are preloaded when an interpreter starts: others need a fresh one.
        if os.environ.get("LD_PRELOAD", "") != _preloaded_libraries:
            print(
                "mm-lora: LD_PRELOAD was changed, this process starts plain",
                file=sys.stderr,
            )
            from multiprocessing.popen_spawn_posix import Popen as Spawn

            return Spawn(process_obj)
        from multiprocessing.popen_forkserver import Popen

        process_obj._environment = dict(os.environ)
        return Popen(process_obj)

    def _bootstrap(self, parent_sentinel: int | None = None) -> int:
        if self._environment is not None:
            os.environ.clear()
            os.environ.update(self._environment)
            _reuse_server()
            settle_threads()
        return int(super()._bootstrap(parent_sentinel))  # type: ignore[misc]


class ForkContext(multiprocessing.context.ForkServerContext):
    """What vLLM is given in the place of multiprocessing's spawn context."""

    Process = ForkedProcess  # type: ignore[assignment]


def _reuse_server() -> None:
    """Children start their own children through the same server, not through one of their own."""
    watchdog.held = False
    server: Any = multiprocessing.forkserver._forkserver
    server.ensure_running = resource_tracker.ensure_running


def settle_threads() -> None:
    """Give OpenMP the thread count and CPUs of the environment: it was read long before.

    The count is the one OpenMP itself would take; the binding is that of vLLM's
    OMPProcessManager (utils/ompmultiprocessing.py), as the process's affinity.
    """
    import torch

    cpus = bound_cpus(os.environ)
    if cpus:
        os.sched_setaffinity(0, cpus)
    count = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    torch.set_num_threads(int(count) if count.isdigit() else len(os.sched_getaffinity(0)))


def bound_cpus(environment: "os._Environ[str] | dict[str, str]") -> set[int]:
    """The CPUs that OpenMP is told to bind to; empty if it is not."""
    for variable in ("GOMP_CPU_AFFINITY", "OMP_PLACES", "KMP_AFFINITY"):
        places = re.search(r"^[\d ]+$|[{\[]([\d,]+)[}\]]", environment.get(variable, ""))
        if places:
            return {int(number) for number in re.findall(r"\d+", places[0])}
    return set()
