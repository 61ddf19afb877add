"""Joins the mutants.json of a run's shards into that of the whole run."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.report import mutant_page
from mm_lora.report.merge import require_each_once
from mm_lora.run.mutant_document import (
    Baseline,
    LaneResults,
    MutantResult,
    MutantResults,
    MutantShard,
)
from mm_lora.run.mutant_turns import Lane

FILE = "mutants.json"
_WORST = (ExitCode.FAIL, ExitCode.ERROR, ExitCode.PASS)
"""As for one run: what nobody explains comes before trouble."""


def read(folder: Path) -> MutantResults:
    """The results in a run's folder. Raises UsageError for a file that is none."""
    file = folder / FILE
    try:
        return msgspec.json.decode(file.read_bytes(), type=MutantResults)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(f"{file} cannot be read: {error}", "the folder of a shard") from error


def merge(shards: Mapping[str, MutantResults]) -> MutantResults:
    """One document of all `shards`, by the name of each run's folder.

    A check that several shards judged without a mutant counts as often. Raises UsageError for what
    is no complete set of shards.
    """
    parts = _whole(shards)
    first = parts[0]
    place = {identity: at for at, identity in enumerate(_shard(first).planned)}
    codes = {part.exit_code for part in parts}
    return replace(
        first,
        shard=None,
        exit_code=next((int(code) for code in _WORST if code in codes), int(ExitCode.EMPTY)),
        lanes=tuple(
            _lane(lane.lane, [part.lanes[at] for part in parts], place)
            for at, lane in enumerate(first.lanes)
        ),
    )


def summary(whole: MutantResults) -> mutant_page.Summary:
    """What the text and the page show: of each mutant the checks that killed it."""
    return mutant_page.Summary(
        lanes=[
            mutant_page.LaneSummary(
                name=str(lane.lane),
                rows=[_row(one) for one in lane.mutants],
                failed_clean=[*lane.baseline.failed, *lane.control_failures],
            )
            for lane in whole.lanes
        ]
    )


def _row(one: MutantResult) -> mutant_page.Row:
    return mutant_page.Row(
        id=one.id,
        result=one.result,
        how=one.how or "",
        reason=one.reason,
        toggled=not one.restarted,
        duration_s=one.duration_s or None,
        outcomes=dict.fromkeys(one.killed_by, "fail"),
    )


def _lane(name: Lane, parts: Sequence[LaneResults], place: Mapping[str, int]) -> LaneResults:
    failed = dict.fromkeys(one for part in parts for one in part.baseline.failed)
    return LaneResults(
        lane=name,
        baseline=Baseline(judged=sum(part.baseline.judged for part in parts), failed=tuple(failed)),
        mutants=tuple(
            sorted((one for part in parts for one in part.mutants), key=lambda one: place[one.id])
        ),
        control_failures=tuple(one for part in parts for one in part.control_failures),
    )


def _shard(part: MutantResults) -> MutantShard:
    assert part.shard is not None
    return part.shard


def _whole(shards: Mapping[str, MutantResults]) -> list[MutantResults]:
    """The shards in their order, once they are known to be one whole run."""
    for name, part in shards.items():
        if part.shard is None:
            raise UsageError(f"{name} is not a shard", "`mm-lora mutants --shard I/N`")
        if part.exit_code is None or part.exit_code >= ExitCode.SIGINT:
            raise UsageError(f"{name} did not end", "run that shard again")
    (first_name, first), *others = shards.items()
    for name, part in others:
        if _same(part) != _same(first):
            raise UsageError(
                f"{name} and {first_name} are shards of different runs",
                "model, vLLM, lanes and mutants of both",
            )
    require_each_once((_shard(part).index for part in shards.values()), _shard(first).count)
    return sorted(shards.values(), key=lambda part: _shard(part).index)


def _same(part: MutantResults) -> tuple[object, ...]:
    shard = _shard(part)
    lanes = tuple(lane.lane for lane in part.lanes)
    return (part.model, part.vllm, shard.count, shard.planned, lanes)
