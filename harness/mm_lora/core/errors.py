"""The error tree: one exit code per kind, and messages that say what happened, then what to check.

Exit codes of a run (also in `mm-lora --help`):
0 passed · 1 a check failed · 2 wrong usage · 3 trouble, nothing can be said · 4 nothing judged ·
130 interrupted (SIGINT) · 143 terminated (SIGTERM).
"""

from collections.abc import Mapping
from enum import IntEnum


class ExitCode(IntEnum):
    """What the process returns; the first that applies, in the order of `outcomes.exit_code`."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    ERROR = 3
    EMPTY = 4
    SIGINT = 130
    SIGTERM = 143


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.PASS: "everything that was judged passed; known defects are allowed, unless --strict",
    ExitCode.FAIL: "a check failed, or an entry of the known defects is stale",
    ExitCode.USAGE: "wrong usage: the command line, or a file that it names",
    ExitCode.ERROR: "trouble: a check could not be judged or proved nothing, or the run broke off",
    ExitCode.EMPTY: "nothing was judged",
    ExitCode.SIGINT: "interrupted (SIGINT, Ctrl-C); what there is was written",
    ExitCode.SIGTERM: "terminated (SIGTERM); what there is was written",
}
"""What each exit code of a run says."""


class MmLoraError(Exception):
    """Base of all expected errors. `what` happened, and what to `check` (on its own line)."""

    exit_code = ExitCode.ERROR

    def __init__(self, what: str, check: str = "") -> None:
        self.what = what
        self.check = check
        super().__init__(f"{what}\n  check: {check}" if check else what)


class UsageError(MmLoraError):
    """The command line, a profile, a pattern or a file that the user named is wrong."""

    exit_code = ExitCode.USAGE


class TroubleError(MmLoraError):
    """Server or environment trouble: nothing can be said about the adapters."""

    exit_code = ExitCode.ERROR


class InstallError(TroubleError):
    """An environment lacks a package, has the wrong version, or cannot be made."""


class NoFeature(TroubleError):
    """This vLLM lacks what is to be verified; `what` carries the evidence."""


class BuildError(TroubleError):
    """A checkpoint, adapter or reference could not be built; carries the worker's last lines."""


class ReportError(TroubleError):
    """The report could not be written: folder not writable or disk full."""


class ServerError(TroubleError):
    """Base of everything that goes wrong with a server; `log_tail` has its last lines."""

    def __init__(self, what: str, check: str = "", log_tail: str = "") -> None:
        super().__init__(what, check)
        self.log_tail = log_tail


class ServerDied(ServerError):
    """The server's process ended by itself. `by_signal` is the signal's number, if one ended it.

    `adapter` is the one that it refused to load, if that ended it. `starting`: it was not ready.
    """

    def __init__(
        self,
        what: str,
        check: str = "",
        log_tail: str = "",
        by_signal: int | None = None,
        adapter: str | None = None,
        *,
        starting: bool = False,
    ) -> None:
        super().__init__(what, check, log_tail)
        self.by_signal = by_signal
        self.adapter = adapter
        self.starting = starting


class ServerGivenUp(ServerDied):
    """It died of its own exception in so many checks that it is not started again."""


class ServerTimeout(ServerError):
    """The server still runs but was not ready, or did not answer, in the profile's time."""


class PatchError(ServerError):
    """A patch's hook point is gone, or a vLLM process did not report that its patches are in."""
