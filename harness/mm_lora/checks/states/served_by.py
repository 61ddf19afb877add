"""Which of several engines has answered, by what the server counts of each."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mm_lora.checks.running import Served
from mm_lora.checks.states.features import ENGINES

_ENDED = "vllm:request_success_total"
_PATIENCE_S, _TURN_S = 5.0, 0.05


@dataclass
class Seen:
    """`engines`: those that have answered; filled in at the end."""

    engines: set[int] = field(default_factory=set)


@contextmanager
def served_by(served: Served, requests: int = 1) -> Iterator[Seen]:
    """Counts while `requests` are asked inside, and waits until all of them are counted."""
    seen, before = Seen(), _ended(served)
    yield seen
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        grown = [now - then for now, then in zip(_ended(served), before, strict=True)]
        if sum(grown) >= requests or time.monotonic() > deadline:
            break
        time.sleep(_TURN_S)
    seen.engines = {engine for engine, count in enumerate(grown) if count}


def _ended(served: Served) -> list[float]:
    samples = served.metrics()
    return [samples.total(_ENDED, engine=str(engine)) for engine in range(ENGINES)]
