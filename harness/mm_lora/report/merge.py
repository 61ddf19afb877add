"""Joins the reports of a run's shards into the one that the whole run would have written.

Refused: a shard that is missing, there twice or not finished, and one of another seed, version,
profile or selection: the sum would be no run that anybody could have made.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.checks.defects import Defect
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.core.outcomes import Outcome, exit_code, run_outcome
from mm_lora.core.record import Check
from mm_lora.core.table import Cell, Table, Tables
from mm_lora.report import defect_entries

Report = dict[str, Any]

_SAME = ("schema", "tool", "profile", "seed")
_OF_A_PLACE = ("--reports", "--server-python")
"""Options that may differ from machine to machine."""


def merge(shards: Mapping[str, Report], defects: Sequence[Defect]) -> Report:
    """One report of all `shards`, by the name of each run's folder. Raises UsageError."""
    _require_whole(shards)
    parts = sorted(shards.items(), key=lambda item: item[1]["shard"]["index"])
    reports = [report for _, report in parts]
    first = reports[0]
    found = {check["id"]: check for report in reports for check in report["checks"]}
    checks = [found[identity] for identity in first["shard"]["planned"]]
    outcomes = [Outcome(check["outcome"]) for check in checks]
    code = exit_code(
        outcomes,
        stale=Outcome.FIXED_UPSTREAM in outcomes,
        strict="--strict" in first["argv"],
    )
    whole = {key: value for key, value in first.items() if key != "shard"}
    return whole | {
        "vllm": next((r["vllm"] for r in reports if r["vllm"]), {}),
        "environment": next((r["environment"] for r in reports if r["environment"]), {}),
        "outcome": run_outcome(code),
        "exit_code": int(code),
        "note": f"merged of {len(parts)} shards: {', '.join(name for name, _ in parts)}",
        "started": min(report["started"] for report in reports),
        "duration_s": round(sum(report["duration_s"] for report in reports), 2),
        "counts": {str(o): n for o in Outcome if (n := outcomes.count(o))},
        "argv": _words(first),
        "servers": [
            {**server, "log": f"{name}/{server['log']}"}
            for name, report in parts
            for server in report["servers"]
        ],
        "checks": checks,
        "tables": _tables(reports),
        "limits": list(dict.fromkeys(one for r in reports for one in r.get("limits", ()))),
        "defects": defect_entries.entries([Check(**check) for check in checks], defects),
    }


def exit_of(report: Report) -> ExitCode:
    """What a process that shows this report returns."""
    return ExitCode(report["exit_code"])


def _require_whole(shards: Mapping[str, Report]) -> None:
    for name, report in shards.items():
        if "shard" not in report:
            raise UsageError(f"{name} is no shard", "runs made with --set shard=I/N")
        if not report.get("finished"):
            raise UsageError(f"{name} did not end: {report.get('note')}", "run that shard again")
    (first_name, first), *others = shards.items()
    for name, report in others:
        for key in _SAME:
            if report[key] != first[key]:
                raise UsageError(
                    f"{name} has another {key} than {first_name}: {report[key]!r} "
                    f"and {first[key]!r}",
                    "shards of one run, made with the same options and versions",
                )
        one, other = _version(report), _version(first)
        if one and other and one != other:
            raise UsageError(
                f"{name} is of vLLM {one}, {first_name} of {other}", "one vLLM for all"
            )
        if report["shard"]["count"] != first["shard"]["count"] or (
            report["shard"]["planned"] != first["shard"]["planned"]
            or _words(report) != _words(first)
        ):
            raise UsageError(
                f"{name} and {first_name} are shards of different runs", "the options of both"
            )
    indices = Counter(report["shard"]["index"] for report in shards.values())
    count = first["shard"]["count"]
    if missing := [index for index in range(1, count + 1) if index not in indices]:
        raise UsageError(f"shards {missing} of {count} are missing", "the report of each shard")
    if twice := [index for index, times in indices.items() if times > 1]:
        raise UsageError(
            f"shards {twice} of {count} are there more than once", "one report of each"
        )
    ids = Counter(check["id"] for report in shards.values() for check in report["checks"])
    planned = first["shard"]["planned"]
    if gaps := [identity for identity in planned if ids[identity] == 0]:
        raise UsageError(
            f"{len(gaps)} checks are in no shard: {', '.join(gaps[:3])}", "run it again"
        )
    if twice_judged := [identity for identity, times in ids.items() if times > 1]:
        raise UsageError(f"checks are in several shards: {', '.join(twice_judged[:3])}", "")


def _version(report: Report) -> tuple[Any, Any] | None:
    vllm = report["vllm"]
    return (vllm.get("version"), vllm.get("distribution")) if vllm else None


def _words(report: Report) -> list[str]:
    """The command line without what is a shard's or a machine's own."""
    words, kept = list(report["argv"]), []
    while words:
        word = words.pop(0)
        if word in _OF_A_PLACE or (word == "--set" and words and words[0].startswith("shard=")):
            words.pop(0)
        else:
            kept.append(word)
    return kept


def _tables(reports: Sequence[Report]) -> dict[str, Any]:
    """All rows of each table. Where shards filled different cells of a row, it is one row."""
    tables = Tables()
    for report in reports:
        for name, data in report["tables"].items():
            table = Table.from_json(data)
            mine = tables.named(name, table.title, table.columns, brief=table.brief)
            for row in table.rows:
                _add(mine, row)
    return {name: table.as_json() for name, table in tables.items()}


def _add(table: Table, row: Sequence[Cell]) -> None:
    for place, known in enumerate(table.rows):
        pairs = list(zip(known, row, strict=True))
        if all(a == b or a is None or b is None for a, b in pairs):
            table.put(place, [b if a is None else a for a, b in pairs])
            return
    table.add(*row)
