"""The processes of one server: a group that ends with the harness and leaves nothing behind."""

import contextlib
import getpass
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mm_lora.serving.server import remains
from mm_lora.serving.server.child import Child, started
from mm_lora.serving.server.command import ALIVE_VARIABLE
from mm_lora.serving.server.cradle import Cradles

_CHILDREN_GRACE_S = 3.0  # engine core, workers and the tracker that frees shared memory
_KILLED_S = 10.0
_LONGEST_BASE = 50


class ProcessGroup:
    """A process in a session of its own, with all that it starts, and a temporary folder.

    `config` is the file that MM_LORA_INSIDE names: processes are known by it. `keep` lets them
    outlive us; otherwise they watch a pipe that we hold open, and end however we end. It is forked
    by `cradles` where they can.
    """

    def __init__(self, config: Path, keep: bool, cradles: Cradles | None = None) -> None:
        self.temporary = _short_folder()
        self._config = config
        self._keep = keep
        self._cradles = cradles
        self._process: Child | None = None
        self._alive: int | None = None
        self._shared_memory: set[Path] = set()

    @property
    def pid(self) -> int | None:
        """The first process's pid: also its group and its session. None before it is known."""
        return self._process.pid if self._process else None

    def run(self, command: Sequence[str], changes: Mapping[str, str], log: Path) -> None:
        """Start it in the log's folder, with `changes` to our environment. Raises OSError."""
        environment = {**os.environ, **changes}
        inherited: tuple[int, ...] = ()
        if not self._keep:
            theirs, self._alive = os.pipe()
            environment[ALIVE_VARIABLE] = f"{theirs}:{os.fstat(theirs).st_ino}"
            inherited = (theirs,)
        try:
            log.write_bytes(b"")
            forked = self._cradles and self._cradles.fork(command, environment, log, *inherited)
            self._process = forked or started(command, environment, log, inherited)
        finally:
            for descriptor in inherited:
                os.close(descriptor)

    def poll(self) -> int | None:
        """The first process's exit code; None while it runs or before it was started."""
        return self._process.poll() if self._process else None

    def note_shared_memory(self) -> None:
        """To be called while they live: vLLM kills its workers, which then leave theirs behind."""
        if self._process is not None:
            alive = remains.living(self._process.pid, self._config)
            self._shared_memory |= remains.shared_memory(alive)

    def end(self, grace_s: float) -> set[int]:
        """SIGTERM, then SIGKILL to all that is left; remove their files. What lives still."""
        left = self._end(self._process, grace_s) if self._process else set()
        for path in self._shared_memory:
            path.unlink(missing_ok=True)
        shutil.rmtree(self.temporary, ignore_errors=True)
        if self._alive is not None:
            os.close(self._alive)
            self._alive = None
        return left

    def _end(self, process: Child, grace_s: float) -> set[int]:
        if process.poll() is None:
            self.note_shared_memory()
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(grace_s)
                remains.wait_gone(process.pid, self._config, _CHILDREN_GRACE_S)
        left = remains.end_all(process.pid, self._config, _KILLED_S)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_KILLED_S)
        return left


def _short_folder() -> Path:
    """A new temporary folder. Sockets are made in it, whose names have 107 characters at most.

    It shows torch's compiler cache where torch looks for it (cache_dir_utils.default_cache_dir):
    that must outlive the server, or each start compiles anew for seconds.
    """
    base = tempfile.gettempdir()
    outer = base if len(base) <= _LONGEST_BASE else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="mm-lora-", dir=outer))
    try:
        user = re.sub(r'[\\/:*?"<>|]', "_", getpass.getuser())
        compiled = Path(base, f"torchinductor_{user}")
        compiled.mkdir(exist_ok=True)
        (folder / compiled.name).symlink_to(compiled)
    except (KeyError, OSError):
        pass  # no name for this user, or not ours to write: torch then uses the folder itself
    return folder
