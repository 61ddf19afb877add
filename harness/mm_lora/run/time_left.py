"""How long a run will still take, from what its own starts and checks took so far.

costs.toml says only how groups compare with each other; how fast this machine is, the run shows.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_lora.run.plan import Plan
from mm_lora.serving.server.spec import ServerSpec

FEW = 5
"""So many checks must have been judged on a server before anything is said."""

_WEIGHT = 3.0
"""So many checks of a group, seen here, weigh as much as what it cost elsewhere."""


@dataclass(frozen=True)
class Left:
    """Seconds to the end. `at_least`: some checks are of a kind that nothing is known of."""

    seconds: float
    at_least: bool = False


class TimeLeft:
    """Follows one run. `costs`: group → seconds that a check on a server took elsewhere.

    A server's start is what its first check took: it waits for the server.
    """

    def __init__(self, plan: Plan, costs: Mapping[str, float]) -> None:
        self._costs = costs
        judged = [check.id for check in plan.checks if not check.skip]
        self._to_go = {identity: plan.server_of(identity) for identity in judged}
        self._up: set[ServerSpec] = set()
        self._start_s: float | None = None
        self._took: dict[tuple[str, bool], list[float]] = {}

    def ended(self, check_id: str, took_s: float) -> None:
        """A check was judged."""
        if check_id not in self._to_go:
            return
        spec = self._to_go.pop(check_id)
        if spec is not None and spec not in self._up:
            self._up.add(spec)
            self._start_s = took_s
        else:
            self._took.setdefault(_kind(check_id, spec), []).append(took_s)

    def left(self) -> Left | None:
        """None where too little was seen to say anything."""
        seen = sum(len(took) for (_, served), took in self._took.items() if served)
        if self._start_s is None or seen < FEW:
            return None
        waits = set(self._to_go.values()) - self._up - {None}
        seconds, unknown, speed = len(waits) * self._start_s, 0, self._speed()
        for identity, spec in self._to_go.items():
            one = self._seconds(_kind(identity, spec), speed)
            seconds += one or 0.0
            unknown += one is None
        return Left(seconds, at_least=bool(unknown))

    def _speed(self) -> float:
        """How many times longer checks take here than they did elsewhere."""
        both = [
            (sum(took), len(took) * self._costs[group])
            for (group, served), took in self._took.items()
            if served and group in self._costs
        ]
        elsewhere = sum(cost for _, cost in both)
        return sum(took for took, _ in both) / elsewhere if elsewhere else 1.0

    def _seconds(self, kind: tuple[str, bool], speed: float) -> float | None:
        """What a check of a kind is expected to take; None if neither seen nor measured."""
        group, served = kind
        took = self._took.get(kind, [])
        if served and group in self._costs:
            prior = speed * self._costs[group]
            return (_WEIGHT * prior + sum(took)) / (_WEIGHT + len(took))
        return sum(took) / len(took) if took else None


def _kind(check_id: str, spec: ServerSpec | None) -> tuple[str, bool]:
    """The check's group, and whether it is judged on a server."""
    return check_id.partition("/")[0], spec is not None
