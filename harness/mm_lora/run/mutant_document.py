"""mutants.json as typed values: what became of each mutant in each lane."""

from dataclasses import dataclass
from typing import Literal

from mm_lora.run.mutant_turns import Lane

How = Literal["numbers", "crash", "start"]


@dataclass(frozen=True, kw_only=True)
class MutantResult:
    """Of a mutant in a lane. `how`: it was killed: by what a check saw, or since the server died at
    a request or at its start. `killed_by`: the checks that failed."""

    id: str
    result: Literal["killed", "survived", "not-judged"]
    how: How | None = None
    killed_by: tuple[str, ...] = ()
    reason: str = ""
    restarted: bool = False
    duration_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """How many checks were judged without a mutant, and which of them did not pass."""

    judged: int
    failed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LaneResults:
    """Of one lane. `control_failures`: judgements that failed after a mutant was gone."""

    lane: Lane
    baseline: Baseline
    mutants: tuple[MutantResult, ...]
    control_failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MutantShard:
    """Which part of a run's mutants was judged. `planned`: the ids of all parts."""

    index: int
    count: int
    planned: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MutantResults:
    """The whole of mutants.json. `model`: in which the mutants were seeded. `exit_code`: the
    command's, None while it runs. `shard`: null for a whole or a merged run."""

    schema: Literal[1] = 1
    model: str = ""
    vllm: str = ""
    exit_code: int | None = None
    shard: MutantShard | None = None
    lanes: tuple[LaneResults, ...]
