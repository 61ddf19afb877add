"""Live progress: a status line on a terminal, plain lines elsewhere; never both."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from mm_lora.core.styles import STYLES


class Progress:
    """Says what is starting, how long it takes, what is being checked. Safe from threads.

    `quiet`: only what did not pass is said.
    """

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or Console(stderr=True, file=sys.stderr, highlight=False)
        self._quiet = quiet
        self._live = self.console.is_terminal and not quiet
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._status: Status | None = None
        self._total = 0
        self._done = 0
        self._current = ""
        self._background = ""

    def __enter__(self) -> Self:
        if self._live:
            self._status = self.console.status("", spinner="dots")
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def expect(self, total: int) -> None:
        """How many checks there will be."""
        self._total = total

    def say(self, text: str) -> None:
        """One event: a line with the seconds since the run began."""
        with self._lock:
            elapsed = time.monotonic() - self._started
            if not self._quiet:
                self.console.print(f"[dim]{elapsed:6.1f}s[/dim] {escape(text)}", soft_wrap=True)
            self._background = text
            self._show()

    def checking(self, check_id: str) -> None:
        """A check begins."""
        with self._lock:
            self._current = check_id
            self._show()

    def checked(self, check_id: str, outcome: str, duration_s: float) -> None:
        """A check ended."""
        with self._lock:
            self._done += 1
            self._current = ""
            style = STYLES.get(outcome, "")
            # On a terminal the passes stay in the status line: only what needs eyes scrolls by.
            if outcome != "pass" or not (self._live or self._quiet):
                took = f"[dim]{duration_s:.1f} s[/dim]"
                self.console.print(
                    f"[{style}]{outcome:>12}[/{style}] {escape(check_id)} {took}",
                    soft_wrap=True,
                )
            self._show()

    def _show(self) -> None:
        if self._status is not None:
            what = self._current or self._background
            self._status.update(f"{self._done}/{self._total} checks  {escape(what)}")
