"""What one pass over a running server found: a finding for each adapter and check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_lora.core.errors import ExitCode
from mm_lora.core.outcomes import Outcome, exit_code, run_outcome
from mm_lora.core.typed import plain

SCHEMA = 1

TEXT, PICTURE = "text", "picture"
ANSWERS, NEIGHBOURS, FILES = "answers", "neighbours", "files"
"""Checks of an adapter; `differs-` and `repeats-` are about one of the questions."""

UNKNOWN = (
    "whether the numbers are right: an adapter at half its strength differs from its base too",
    "whether the requests that were sent together shared a step of the server",
    "what other users asked in the meantime: no answer was surely given alone",
    "whether the server has the adapter that its name promises",
)
"""What no pass can know from outside."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check of one adapter. `difference`: the logprob that decided, None where there is none;
    `allowed`: the least for `differs-`, the most for the others."""

    adapter: str
    check: str
    outcome: Outcome
    difference: float | None = None
    allowed: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass. `adapters`: those that were to be judged; `noise`, `tolerance`, `min_effect`: in
    logprob, None where it did not come to them; `trouble`: what ended it before its time."""

    base_url: str
    started: str
    vllm: str | None = None
    base: str = ""
    adapters: Sequence[str] = ()
    pictures: bool | None = None
    noise: float | None = None
    tolerance: float | None = None
    min_effect: float | None = None
    findings: Sequence[Finding] = ()
    requests: int = 0
    duration_s: float = 0.0
    trouble: str = ""
    notes: Sequence[str] = ()

    def of(self, adapter: str) -> list[Finding]:
        """Those of one adapter."""
        return [one for one in self.findings if one.adapter == adapter]

    @property
    def exit_code(self) -> ExitCode:
        """As a run's: 1 an adapter fails, 3 trouble or nothing proved, 4 no adapters."""
        ended = [Outcome.ERROR] if self.trouble else []
        return exit_code([*ended, *(one.outcome for one in self.findings)])

    def as_json(self) -> Mapping[str, Any]:
        """The document of `watch --json`."""
        return {
            "schema": SCHEMA,
            "base_url": self.base_url,
            "vllm": self.vllm,
            "base": self.base,
            "outcome": run_outcome(self.exit_code),
            "exit_code": int(self.exit_code),
            "started": self.started,
            "duration_s": round(self.duration_s, 2),
            "requests": self.requests,
            "pictures": self.pictures,
            "noise": self.noise,
            "tolerance": self.tolerance,
            "min_effect": self.min_effect,
            "trouble": self.trouble,
            "notes": list(self.notes),
            "unknown": list(UNKNOWN),
            "adapters": [
                {"adapter": name, "checks": [plain(one) for one in self.of(name)]}
                for name in self.adapters
            ],
        }
