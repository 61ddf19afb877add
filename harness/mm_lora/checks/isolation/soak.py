"""Random traffic from a seed for a given time; a failure is stored so that it can be replayed."""

import random
import shlex
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mm_lora.checks.isolation.questions import anyone
from mm_lora.checks.isolation.traffic import Seen, Traffic
from mm_lora.core import typed
from mm_lora.core.asking import Request
from mm_lora.core.run_folder import RunFolder
from mm_lora.families.family import Family
from mm_lora.serving.client import CACHES

KEPT = 100
"""Requests that are stored with a failure, the last ones."""

_IN_FLIGHT = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, kw_only=True)
class Wave:
    """Requests that are sent together: after `resets` of caches, each `delays` seconds later."""

    requests: tuple[Request, ...]
    delays: tuple[float, ...]
    resets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The file that `--set replay=FILE` reads; `replay` is its format's version."""

    replay: int = 1
    model: str
    server: str
    seed: str
    waves: tuple[Wave, ...]


def waves(family: Family, seed: str, tenants: Sequence[str]) -> Iterator[Wave]:
    """Endless traffic, the same for the same seed and tenants."""
    chance = random.Random(seed)
    while True:
        requests = tuple(anyone(family, tenants, chance.choice(_IN_FLIGHT), chance))
        spread = chance.choice((0.0, 0.2, 1.0))
        yield Wave(
            requests=requests,
            delays=tuple(round(chance.uniform(0, spread), 3) for _ in requests),
            resets=tuple(name for name in CACHES if chance.random() < 0.3),
        )


def run(traffic: Traffic, planned: Iterable[Wave], seconds: float) -> tuple[Seen, list[Wave]]:
    """Send wave after wave until the time is over, `planned` ends, or an answer is wrong
    for a reason that no known defect gives; in any case until requests have met.

    Returns what was seen, and the last waves: KEPT requests of them or a few more.
    """
    seen = Seen()
    last: deque[Wave] = deque()
    end = time.monotonic() + seconds
    for wave in planned:
        last.append(wave)
        while sum(len(kept.requests) for kept in list(last)[1:]) >= KEPT:
            last.popleft()
        began = time.monotonic()
        traffic.learn(wave.requests)
        end += time.monotonic() - began  # what answers are compared with is no traffic
        seen += traffic.burst(wave.requests, delays=wave.delays, resets=wave.resets)
        over = time.monotonic() >= end and seen.batches.language > 0
        if seen.unexplained or over:
            break
    return seen, list(last)


def keep(folder: RunFolder, model: str, server: str, seed: str, last: Sequence[Wave]) -> str:
    """Store the traffic that ended in a wrong answer; returns the command that sends it again."""
    data = Stored(model=model, server=server, seed=seed, waves=tuple(last))
    file = folder.write_json(f"soak-{model}-{server}.json", asdict(data))
    words = ["mm-lora", "verify", "--only", f"soak/{model}/{server}", "--set", f"replay={file}"]
    return f"the same again: {shlex.join(words)}"


def read(file: Path, model: str, server: str) -> list[Wave] | None:
    """The stored waves; None where they are of another model or server. Raises UsageError."""
    data = typed.read_json(file, Stored, "a file soak-….json of a run folder")
    return list(data.waves) if (data.model, data.server) == (model, server) else None
