"""How long a run will still take, from what its own starts and checks took so far.

costs.toml says how groups compare with each other; how fast this machine is, the run shows.
"""

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from mm_lora.run.plan import Plan, Planned
from mm_lora.serving.server.spec import ServerSpec

FEW = 5
"""So many checks must have been judged on a server before anything is said."""

_WEIGHT = 3.0
"""So many checks of a group, seen here, weigh as much as what it cost elsewhere."""

_SECONDS = 20.0
"""So many seconds of checks weigh as much as the guess that this machine is like that one."""


@dataclass(frozen=True)
class Left:
    """Seconds to the end. `at_least`: some checks are of a kind that nothing is known of."""

    seconds: float
    at_least: bool = False


class TimeLeft:
    """Follows one run. `costs`: group → seconds that a check on a server took elsewhere.

    A server's start is what its first check took: it waits for the server. A check that a known
    defect ends the server with waits for another start.
    """

    def __init__(self, plan: Plan, costs: Mapping[str, float]) -> None:
        self._costs = costs
        self._servers = plan.servers
        self._to_go = {one.id: self._kind(one) for one in plan.checks if not one.skip}
        self._up: set[ServerSpec] = set()
        self._start_s: float | None = None
        self._took: dict[_Kind, list[float]] = {}

    def ended(self, check_id: str, took_s: float) -> None:
        """A check was judged."""
        kind, spec = self._to_go.pop(check_id, None), self._servers.get(check_id)
        if kind is None:
            return
        if spec is not None and spec not in self._up:
            self._up.add(spec)
            self._start_s = took_s
        else:
            self._took.setdefault(kind, []).append(took_s)

    def left(self) -> Left | None:
        """None where too little was seen to say anything."""
        seen = sum(len(took) for kind, took in self._took.items() if kind.served)
        if self._start_s is None or seen < FEW:
            return None
        speed, start = self._speed(), self._start_s
        waits = {spec for one in self._to_go if (spec := self._servers.get(one))} - self._up
        kinds = Counter(self._to_go.values())
        known = {kind: self._seconds(kind, speed, start) for kind in kinds}
        seconds = sum(count * (known[kind] or 0.0) for kind, count in kinds.items())
        return Left(seconds + len(waits) * start, at_least=None in known.values())

    def _speed(self) -> float:
        """How many times longer a check takes here than it did elsewhere; once, until some
        seconds of checks were seen. Without the slowest: a first picture is slow once."""
        pairs = [
            (took, self._costs[kind.group])
            for kind, mine in self._took.items()
            for took in mine
            if kind.served and not kind.deadly and kind.group in self._costs
        ]
        usual = sorted(pairs)[:-1]
        here, elsewhere = (sum(pair[at] for pair in usual) for at in (0, 1))
        return (_SECONDS + here) / (_SECONDS + elsewhere)

    def _seconds(self, kind: "_Kind", speed: float, start_s: float) -> float | None:
        """What a check of a kind is expected to take; None if neither seen nor measured."""
        took = self._took.get(kind, [])
        if kind.deadly:
            return statistics.mean(took) if took else start_s
        if kind.served and kind.group in self._costs:
            usual = sorted(took)[:-1]  # what is done for the first time is slow once
            prior = speed * self._costs[kind.group]
            return (_WEIGHT * prior + sum(usual)) / (_WEIGHT + len(usual))
        return statistics.mean(took) if took else None

    def _kind(self, check: Planned) -> "_Kind":
        served = check.id in self._servers
        return _Kind(check.id.partition("/")[0], served, served and check.deadly)


class _Kind(NamedTuple):
    """Checks that are taken to cost alike."""

    group: str
    served: bool
    deadly: bool
