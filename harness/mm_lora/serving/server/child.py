"""The first process of a server, or of a cradle: started in a session of its own."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class Child(Protocol):
    """A process as subprocess.Popen has it."""

    @property
    def pid(self) -> int | None:
        """None while it is not known."""
        ...

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None before it has ended."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, or subprocess.TimeoutExpired."""
        ...

    def terminate(self) -> None:
        """SIGTERM; no error once it has ended."""
        ...


def started(
    command: Sequence[str], environment: Mapping[str, str], log: Path, inherited: Sequence[int]
) -> "subprocess.Popen[bytes]":
    """Start it in the log's folder, with all that it says added to the log. Raises OSError."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherited,
        )
