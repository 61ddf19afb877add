"""When the parts of a run began and how long they took: the key `timings` of report.json."""

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

TIME_SPENT = "time-spent"
"""The report's table of what a run's time was spent on: the clock of one machine."""


@dataclass
class Part:
    """One kind of work in a run. `what`: the server or model that it was done for.

    `began_s`, `ended_s`: first begin and last end, since the run began. `seconds`: the sum of all
    `times`; parts overlap, so that sums of them may exceed the run.
    """

    part: str
    what: str
    began_s: float
    ended_s: float
    seconds: float = 0.0
    times: int = 0


@dataclass(frozen=True)
class Total:
    """One kind of work in the whole run. `seconds`: the sum of its times; `clock_s`: how long at
    least one was under way, 0.0 where only its length is known."""

    times: int
    seconds: float
    clock_s: float


class Timings:
    """A stop watch for the run's threads; work of one name and subject is summed up."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._parts: dict[tuple[str, str], Part] = {}
        self._spans: dict[str, list[list[float]]] = {}

    @contextmanager
    def of(self, part: str, what: str = "") -> Iterator[None]:
        """Time the body, a failed one too."""
        began = self.elapsed_s
        try:
            yield
        finally:
            self.note(part, what, began, self.elapsed_s)

    def note(self, part: str, what: str, began_s: float, ended_s: float) -> None:
        """Add work that somebody else timed, in seconds since the run began."""
        with self._lock:
            mine = self._parts.setdefault((part, what), Part(part, what, began_s, ended_s))
            mine.began_s = min(mine.began_s, began_s)
            mine.ended_s = max(mine.ended_s, ended_s)
            mine.seconds += ended_s - began_s
            mine.times += 1
            _cover(self._spans.setdefault(part, []), began_s, ended_s)

    def add(self, part: str, what: str, seconds: float, times: int) -> None:
        """Add time that somebody else spent within the parts noted here, `times` pieces of work."""
        if not times:
            return
        now = self.elapsed_s
        with self._lock:
            mine = self._parts.setdefault((part, what), Part(part, what, now, now))
            mine.ended_s = max(mine.ended_s, now)
            mine.seconds += seconds
            mine.times += times

    def totals(self) -> dict[str, Total]:
        """Part → its total over all that it was done for, by first begin."""
        with self._lock:
            found: dict[str, Total] = {}
            for one in sorted(self._parts.values(), key=lambda one: one.began_s):
                clock = _length(self._spans.get(one.part, ()))
                known = found.get(one.part, Total(0, 0.0, clock))
                found[one.part] = replace(
                    known, times=known.times + one.times, seconds=known.seconds + one.seconds
                )
            return found

    def unnoted_s(self) -> float:
        """Seconds of the run in which no part was under way."""
        with self._lock:
            every: list[list[float]] = []
            spans = sorted((s for spans in self._spans.values() for s in spans), key=_end)
            for began, ended in spans:
                _cover(every, began, ended)
            return max(0.0, self.elapsed_s - _length(every))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def as_json(self) -> list[dict[str, Any]]:
        """One row a part, by first begin; seconds to the millisecond."""
        with self._lock:
            rows = [asdict(part) for part in self._parts.values()]
        for row in rows:
            row.update({k: round(v, 3) for k, v in row.items() if isinstance(v, float)})
        return sorted(rows, key=lambda row: row["began_s"])


def _cover(spans: list[list[float]], began: float, ended: float) -> None:
    """Add a stretch to those that are covered; what ends last comes last, as it is noted."""
    while spans and spans[-1][1] >= began:
        first, last = spans.pop()
        began, ended = min(began, first), max(ended, last)
    spans.append([began, ended])


def _end(span: Sequence[float]) -> float:
    return span[1]


def _length(spans: Iterable[Sequence[float]]) -> float:
    return sum(ended - began for began, ended in spans)
