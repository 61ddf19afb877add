"""Finds and ends what a server left behind: everything of its session and of its environment."""

import contextlib
import os
import signal
import time
from pathlib import Path

from mm_lora.serving.server.command import CONFIG_VARIABLE

_TURN_S = 0.05


def living(session: int | None, config: Path) -> set[int]:
    """Pids of processes of the session, or with our config in their environment; zombies are dead.

    The session finds those whose environment was overwritten by a process title, or that were
    forked by a cradle with an environment that the kernel does not know; the environment finds
    those that left the session. None for a session that nobody knows yet.
    """
    marker = f"{CONFIG_VARIABLE}={config}".encode()
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        pid = int(entry)
        with contextlib.suppress(OSError, IndexError, ValueError):
            # After the command in brackets: state, parent, group, session.
            state, _, _, its_session = _stat(pid)
            if state in "ZX":
                continue
            if int(its_session) == session or _has(pid, marker):
                found.add(pid)
    return found - {os.getpid()}


def wait_gone(session: int | None, config: Path, patience_s: float) -> None:
    """Give them the time to end by themselves, but no more than that."""
    deadline = time.monotonic() + patience_s
    while living(session, config) and time.monotonic() < deadline:
        time.sleep(_TURN_S)


def end_all(session: int | None, config: Path, patience_s: float) -> set[int]:
    """SIGKILL everything that lives, until nothing does; returns what cannot be ended in time."""
    deadline = time.monotonic() + patience_s
    while remaining := living(session, config):
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return remaining
        time.sleep(_TURN_S)
    return set()


def shared_memory(pids: set[int]) -> set[Path]:
    """Files in /dev/shm that the processes have mapped: killed processes leave theirs behind."""
    found: set[Path] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
                _, mapped, name = line.partition("/dev/shm/")
                if mapped and not name.endswith("(deleted)"):
                    found.add(Path("/dev/shm", name))
    return found


def _stat(pid: int) -> list[str]:
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text[text.rindex(")") + 1 :].split()[:4]


def _has(pid: int, marker: bytes) -> bool:
    return marker in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
