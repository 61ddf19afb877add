"""Memory of a process tree, sampled from /proc while a command runs."""

import contextlib
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_EVERY_S = 0.5
_KB = 1024


@dataclass
class Peak:
    """The most that was seen, in bytes. `own`: resident memory of the command's own process;
    `tree`: proportional set size of it and all its descendants, other sessions included."""

    own: int = 0
    tree: int = 0
    samples: int = 0


def run_sampled(command: Sequence[str]) -> tuple[int, str, Peak]:
    """Run a command to its end: exit code, output, and the peak of its memory."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    peak = Peak()
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(_EVERY_S):
            peak.own = max(peak.own, high_water(process.pid))
            peak.samples += 1
            peak.tree = max(peak.tree, sum(map(proportional, descendants(process.pid))))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        output, _ = process.communicate()
    except BaseException:
        process.terminate()  # the command ends its own servers
        process.wait()
        raise
    finally:
        ended.set()
        thread.join()
    return process.returncode, output, peak


def descendants(root: int) -> set[int]:
    """`root` and every process below it, by parent."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def high_water(pid: int) -> int:
    """The most resident memory that the process ever had, in bytes; 0 when it is gone."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM")


def proportional(pid: int) -> int:
    """Its proportional set size in bytes: shared pages are divided among those who share them."""
    return _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _field(file: Path, name: str) -> int:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return 0
    return field_of(text, name) * _KB


def field_of(text: str, name: str) -> int:
    """The number of kB in a line `name:   123 kB`; 0 where there is none."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.M)
    return int(found[1]) if found else 0
