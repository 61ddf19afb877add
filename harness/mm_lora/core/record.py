"""What a run writes down: a `Check` for each id, the `Run` around them while it is under way."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mm_lora.core.errors import ExitCode
from mm_lora.core.outcomes import Outcome, WrongRows
from mm_lora.core.table import Tables
from mm_lora.core.typed import Number


@dataclass(kw_only=True)
class Check:
    """One of report.json's `checks`. `defect`: id in known_defects.toml; `repeat`: a command.

    `began_s`: since the run began; None where an older mm-lora wrote it.
    """

    id: str
    title: str
    group: str
    outcome: Outcome
    expected: Any = None
    observed: Any = None
    error: Number | None = None
    tolerance: Number | None = None
    effect: Number | None = None
    reason: str = ""
    defect: str | None = None
    server: str | None = None
    duration_s: float = 0.0
    began_s: float | None = None
    repeat: str = ""
    wrong_rows: tuple[WrongRows, ...] = ()


@dataclass(kw_only=True)
class ServerRecord:
    """One entry of report.json's `servers`."""

    spec: dict[str, Any]
    label: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    patches: list[dict[str, Any]] = field(default_factory=list)
    ready_s: float | None = None
    log: str = ""
    start: str = ""
    refused_adapters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Smallest:
    """The least that shows a defect: a check's own words."""

    id: str
    title: str
    expected: Any = None
    observed: Any = None
    error: Number | None = None
    tolerance: Number | None = None
    repeat: str = ""


@dataclass(frozen=True, kw_only=True)
class DefectEntry:
    """What an entry of known_defects.toml says in the report too; see `checks.defects.Defect`."""

    id: str
    versions: str
    platform: str
    symptom: str
    signature: str
    expected: str
    observed: str
    cause: str
    upstream: tuple[str, ...]
    searched: str
    fix: str
    by_chance: bool = False
    families: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetDefect(DefectEntry):
    """One of report.json's `defects`: an entry, its least case in this run, and how many met it."""

    smallest: Smallest
    met_by: int


@dataclass(kw_only=True)
class Run:
    """A whole run. `exit` stays None while it is under way, and is what the process will return."""

    profile: str
    argv: list[str]
    seed: int
    started: str
    vllm: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    servers: list[ServerRecord] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    tables: Tables = field(default_factory=Tables)
    defects: list[MetDefect] = field(default_factory=list)
    timings: list[dict[str, Any]] = field(default_factory=list)
    duration_s: float = 0.0
    exit: ExitCode | None = None
    note: str = ""
    limits: list[str] = field(default_factory=list)
    shard: dict[str, Any] | None = None

    def counts(self) -> dict[str, int]:
        """How many checks had each outcome, in the order of `Outcome`; absent ones are left out."""
        return count(self.checks)


def count(checks: Iterable[Check]) -> dict[str, int]:
    """How many checks had each outcome, in the order of `Outcome`; absent ones are left out."""
    found = Counter(check.outcome for check in checks)
    return {str(o): found[o] for o in Outcome if found[o]}
