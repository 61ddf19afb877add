"""What a run writes down (the report schema): a `Check` for each id, the `Run` around them."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from mm_lora import __version__
from mm_lora.core.errors import ExitCode
from mm_lora.core.outcomes import Outcome, run_outcome
from mm_lora.core.table import Tables

SCHEMA = 1


@dataclass(kw_only=True)
class Check:
    """One of report.json's `checks`. `defect`: id in known_defects.toml; `repeat`: a command."""

    id: str
    title: str
    group: str
    outcome: Outcome
    expected: Any = None
    observed: Any = None
    error: float | None = None
    tolerance: float | None = None
    effect: float | None = None
    reason: str = ""
    defect: str | None = None
    server: str | None = None
    duration_s: float = 0.0
    repeat: str = ""


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
    defects: list[dict[str, Any]] = field(default_factory=list)
    timings: list[dict[str, Any]] = field(default_factory=list)
    duration_s: float = 0.0
    exit: ExitCode | None = None
    note: str = ""
    limits: list[str] = field(default_factory=list)
    shard: dict[str, Any] | None = None

    def counts(self) -> dict[str, int]:
        """How many checks had each outcome, in the order of `Outcome`; absent ones are left out."""
        found = Counter(check.outcome for check in self.checks)
        return {str(o): found[o] for o in Outcome if found[o]}

    def as_json(self) -> dict[str, Any]:
        """The report schema of version 1; readers ignore keys that they do not know."""
        code = ExitCode.ERROR if self.exit is None else self.exit
        outcome = run_outcome(code)
        if self.exit in (ExitCode.SIGINT, ExitCode.SIGTERM):
            broken = any(check.outcome is Outcome.FAIL for check in self.checks)
            outcome = "fail" if broken else "error"
        return {
            "schema": SCHEMA,
            "tool": {"name": "mm-lora", "version": __version__},
            "vllm": self.vllm,
            "profile": self.profile,
            "outcome": outcome,
            "exit_code": int(code),
            "finished": self.exit is not None,
            "note": self.note,
            "started": self.started,
            "duration_s": round(self.duration_s, 2),
            "counts": self.counts(),
            "argv": self.argv,
            "environment": self.environment,
            "seed": self.seed,
            "servers": [asdict(server) for server in self.servers],
            "checks": [asdict(check) for check in self.checks],
            "tables": {name: table.as_json() for name, table in list(self.tables.items())},
            "defects": self.defects,
            "limits": self.limits,
            **({"shard": self.shard} if self.shard else {}),
            "timings": self.timings,
        }
