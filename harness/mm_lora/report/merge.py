"""Joins the reports of a run's shards into the one that the whole run would have written.

Refused: a shard that is missing, there twice or not finished, and one of another seed, version,
profile or selection: the sum would be no run that anybody could have made.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from mm_lora.checks.defects import Defect
from mm_lora.checks.unseen import families_of, unseen
from mm_lora.core.errors import UsageError
from mm_lora.core.outcomes import Outcome, exit_code, run_outcome
from mm_lora.core.report import Report, Shard, counts_stale
from mm_lora.core.table import Cell, Table, Tables
from mm_lora.core.timings import TIME_SPENT
from mm_lora.report import defect_entries

_SAME = ("tool", "profile", "seed")
_OF_A_PLACE = ("--reports", "--server-python")
"""Options that may differ from machine to machine."""


def merge(shards: Mapping[str, Report], defects: Sequence[Defect]) -> Report:
    """One report of all `shards`, by the name of each run's folder. Raises UsageError."""
    parts = _whole(shards)
    reports = [report for _, report, _ in parts]
    first = reports[0]
    found = {check.id: check for report in reports for check in report.checks}
    checks = [replace(found[identity], began_s=None) for identity in parts[0][2].planned]
    outcomes = [check.outcome for check in checks]
    vllm = next((report.vllm for report in reports if report.vllm), {})
    code = exit_code(
        outcomes,
        stale=counts_stale(vllm) and Outcome.FIXED_UPSTREAM in outcomes,
        strict="--strict" in first.argv,
    )
    return replace(
        first,
        vllm=vllm,
        environment=next((r.environment for r in reports if r.environment), {}),
        outcome=run_outcome(code),
        exit_code=int(code),
        note=f"merged of {len(parts)} shards: {', '.join(name for name, _, _ in parts)}",
        started=min(report.started for report in reports),
        duration_s=sum(report.duration_s for report in reports),
        argv=tuple(_words(first)),
        servers=tuple(
            replace(server, log=f"{name}/{server.log}")
            for name, report, _ in parts
            for server in report.servers
        ),
        checks=tuple(checks),
        tables=_tables(reports),
        limits=(
            *dict.fromkeys(one for report in reports for one in report.limits),
            *unseen(checks, families_of(checks), str(vllm.get("version") or "")),
        ),
        defects=tuple(defect_entries.entries(checks, defects)),
        shard=None,
        timings=(),  # each shard's own clock: they are no one run's times
    )


def _whole(shards: Mapping[str, Report]) -> list[tuple[str, Report, Shard]]:
    """The shards in their order, once they are known to be one whole run."""
    parts = []
    for name, report in shards.items():
        if report.shard is None:
            raise UsageError(
                f"{name} is not a shard", "that each run was made with --set shard=I/N"
            )
        if not report.finished:
            raise UsageError(f"{name} did not end: {report.note}", "run that shard again")
        parts.append((name, report, report.shard))
    (first_name, first, first_shard), *others = parts
    for name, report, shard in others:
        for key in _SAME:
            mine, theirs = getattr(report, key), getattr(first, key)
            if mine != theirs:
                raise UsageError(
                    f"{name} and {first_name} differ in {key}: {mine!r} and {theirs!r}",
                    "that all shards were made with the same options and versions",
                )
        one, other = _version(report), _version(first)
        if one and other and one != other:
            raise UsageError(
                f"{name} verified vLLM {one}, {first_name} vLLM {other}", "use one vLLM for all"
            )
        if (shard.count, shard.planned, _words(report)) != (
            first_shard.count,
            first_shard.planned,
            _words(first),
        ):
            raise UsageError(
                f"{name} and {first_name} are shards of different runs", "the options of both"
            )
    require_each_once((shard.index for _, _, shard in parts), first_shard.count)
    ids = Counter(check.id for _, report, _ in parts for check in report.checks)
    planned = first_shard.planned
    if gaps := [identity for identity in planned if ids[identity] == 0]:
        raise UsageError(
            f"{len(gaps)} checks are missing from every shard: {', '.join(gaps[:3])}",
            "run it again",
        )
    if twice_judged := [identity for identity, times in ids.items() if times > 1]:
        raise UsageError(f"checks are in several shards: {', '.join(twice_judged[:3])}", "")
    return sorted(parts, key=lambda part: part[2].index)


def require_each_once(indices: Iterable[int], count: int) -> None:
    """Raise UsageError unless these are the shards 1 to `count`."""
    known = Counter(indices)
    if missing := [index for index in range(1, count + 1) if index not in known]:
        raise UsageError(
            f"shards {missing} of {count} are missing", "name the report of each shard"
        )
    if twice := [index for index, times in known.items() if times > 1]:
        raise UsageError(
            f"shards {twice} of {count} are given more than once", "name one report of each"
        )


def _version(report: Report) -> tuple[Any, Any] | None:
    served = report.served
    return (served.version, served.distribution) if report.vllm else None


def _words(report: Report) -> list[str]:
    """The command line without what is a shard's or a machine's own."""
    words, kept = list(report.argv), []
    while words:
        word = words.pop(0)
        if word in _OF_A_PLACE or (word == "--set" and words and words[0].startswith("shard=")):
            words.pop(0)
        else:
            kept.append(word)
    return kept


def _tables(reports: Sequence[Report]) -> Tables:
    """All rows of each table. Where shards filled different cells of a row, it is one row."""
    tables = Tables()
    for report in reports:
        for name, table in report.tables.items():
            if name == TIME_SPENT:  # each shard's own clock
                continue
            mine = tables.named(name, table.title, table.columns, brief=table.brief)
            for row in table.rows:
                _add(mine, row)
    return tables


def _add(table: Table, row: Sequence[Cell]) -> None:
    for place, known in enumerate(table.rows):
        pairs = list(zip(known, row, strict=True))
        if all(a == b or a is None or b is None for a, b in pairs):
            table.put(place, [b if a is None else a for a, b in pairs])
            return
    table.add(*row)
