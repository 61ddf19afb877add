"""Live progress: a status line on a terminal, plain lines elsewhere; never both."""

import sys
import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from mm_lora.core.styles import STYLES


class Progress:
    """Says what is starting, how long it takes, what is being checked. Safe from threads.

    `quiet`: only what did not pass is said. The status line is the object itself, which rich shows
    anew several times a second.
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
        self._end: tuple[float, bool] | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._status = self.console.status(self, spinner="dots")
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

    def left(self, seconds: float | None, *, at_least: bool = False) -> None:
        """How long all of it will still take, counted down from now; None where nobody knows."""
        self._end = None if seconds is None else (time.monotonic() + seconds, at_least)

    def say(self, text: str) -> None:
        """One event: a line with the seconds since the run began."""
        with self._lock:
            elapsed = time.monotonic() - self._started
            if not self._quiet:
                self.console.print(f"[dim]{elapsed:6.1f}s[/dim] {escape(text)}", soft_wrap=True)
            self._background = text

    def checking(self, check_id: str) -> None:
        """A check begins."""
        with self._lock:
            self._current = check_id

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

    def __rich__(self) -> Text:
        """The status line: one line, cut off where the terminal ends."""
        words = (
            f"{self._done}/{self._total} checks",
            self._time_left(),
            self._current or self._background,
        )
        return Text("  ".join(filter(None, words)), no_wrap=True, overflow="ellipsis")

    def _time_left(self) -> str:
        """Nothing once it takes longer than was thought."""
        if self._end is None:
            return ""
        end, at_least = self._end
        seconds = end - time.monotonic()
        return f"{'over' if at_least else 'about'} {roughly(seconds)} left" if seconds > 0 else ""


def roughly(seconds: float) -> str:
    """A time in steps that an estimate allows: `10 s`, `80 s`, `2 min`, `2 h 5 min`."""
    if seconds < 85:
        return f"{max(10, 10 * round(seconds / 10))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
