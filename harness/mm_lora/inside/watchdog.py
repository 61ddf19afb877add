"""Ends a vLLM process when its parent or the harness is gone, so that `kill -9` leaves nothing."""

import contextlib
import multiprocessing
import os
import select
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

ALIVE_VARIABLE = "MM_LORA_ALIVE"
_TURN_S = 1.0
_GRACE_S = 3.0
_running_in = 0

held = False
"""True while no thread may exist: before a fork."""


def start() -> None:
    """Watch from a thread; once a process, and nothing to do in one that nobody must end.

    The API server watches a pipe that the harness holds open. Children of multiprocessing watch
    their parent: by its sentinel, and by the parent's pid, which is known earlier.
    """
    global _running_in
    if held:
        return
    pipe = _alive_pipe()
    spawned = "--multiprocessing-fork" in sys.orig_argv
    if _running_in == os.getpid() or not (
        pipe is not None or spawned or multiprocessing.parent_process() is not None
    ):
        return
    _running_in = os.getpid()
    threading.Thread(
        target=_watch, args=(pipe, os.getppid()), name="mm-lora-watchdog", daemon=True
    ).start()


def drop_pipe() -> None:
    """For a fork of the API server: the harness's pipe is not its to watch."""
    pipe = _alive_pipe()
    if pipe is not None:
        os.close(pipe)


def _alive_pipe() -> int | None:
    """The descriptor from the environment, if it is the harness's pipe and not a later namesake."""
    descriptor, _, inode = os.environ.get(ALIVE_VARIABLE, "").partition(":")
    with contextlib.suppress(ValueError, OSError):
        if os.fstat(int(descriptor)).st_ino == int(inode):
            return int(descriptor)
    return None


def _watch(pipe: int | None, parent_pid: int) -> None:
    while not _gone(pipe, parent_pid):
        pass
    if pipe is not None:
        _remove_temporary_folder()
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)  # vLLM's own way out, if it takes one
    if pipe is not None and os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _remove_temporary_folder() -> None:
    """The harness made it for this server, and is not there to remove it."""
    folder = Path(os.environ.get("TMPDIR", ""))
    if folder.name.startswith("mm-lora-"):
        shutil.rmtree(folder, ignore_errors=True)


def _gone(pipe: int | None, parent_pid: int) -> bool:
    """Wait a turn at most; whether the other side has ended."""
    if os.getppid() != parent_pid:
        return True
    ends: list[Any] = [] if pipe is None else [pipe]
    parent = multiprocessing.parent_process()
    if parent is not None and pipe is None:
        ends.append(parent.sentinel)
    return bool(select.select(ends, [], [], _TURN_S)[0])
