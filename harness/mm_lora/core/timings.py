"""When the parts of a run began and how long they took: the key `timings` of report.json."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any


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


class Timings:
    """A stop watch for the run's threads; work of one name and subject is summed up."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._parts: dict[tuple[str, str], Part] = {}

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
