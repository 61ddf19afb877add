"""The one typed view of a stored run, from which its HTML, Markdown, JUnit and terminal text come.

Pure: all of it follows from the report, and from the steps that a probe stored beside it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from mm_lora.core.outcomes import WORST_FIRST, Outcome
from mm_lora.core.record import Check, MetDefect
from mm_lora.core.report import Report
from mm_lora.core.selection import GROUPS
from mm_lora.report import claims, vllm_lines
from mm_lora.report.evidence import ServerSteps

BAD = (Outcome.FAIL, Outcome.ERROR, Outcome.VOID, Outcome.FIXED_UPSTREAM)
"""Outcomes that need eyes, in the order in which they are shown."""

GOOD = (Outcome.PASS, Outcome.FIXED_UPSTREAM)
"""Outcomes of a check that passed."""

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Cause:
    """Checks that ended alike, for reasons that differ in numbers alone. `reason`: the first's."""

    outcome: Outcome
    reason: str
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Proof:
    """A check group: what it claims, and how far this run proves it.

    Of the checks that passed, `error`: the largest, in logprob; `power`: the least effect as a
    multiple of its tolerance.
    """

    group: str
    claim: str
    counts: Mapping[str, int]
    seconds: float
    error: float | None = None
    power: float | None = None

    @property
    def judged(self) -> int:
        """How many checks were not skipped."""
        return sum(n for outcome, n in self.counts.items() if outcome != Outcome.SKIP)

    @property
    def passed(self) -> int:
        """How many passed; a check that is fixed upstream did."""
        return sum(n for outcome, n in self.counts.items() if outcome in GOOD)

    @property
    def outcome(self) -> str:
        """The group's own word: its worst outcome."""
        return next(str(one) for one in WORST_FIRST if self.counts.get(one))


@dataclass(frozen=True, kw_only=True)
class View:
    """A run as people look at it. `steps`: what the servers' probes saw, where it is stored."""

    report: Report
    steps: tuple[ServerSteps, ...] = ()

    @property
    def outcome(self) -> str:
        """The run's word; `empty` and `error` for one that did not end."""
        return self.report.outcome

    @cached_property
    def verdict(self) -> str:
        """The run in a sentence or two: what was served, what passed, what did not."""
        report, counts = self.report, self.report.counts
        judged = sum(n for outcome, n in counts.items() if outcome != Outcome.SKIP)
        bad = [f"{counts[one]} {_ENDED[one]}" for one in BAD if counts.get(one)]
        if not judged:
            said = ["Nothing was judged."]
        elif bad:
            where = f"On {report.served.label}, of" if report.vllm else "Of"
            said = [f"{where} {judged} checks of {self.subject}, {_listed(bad)}."]
        else:
            said = [self._passed(judged)]
        if known := counts.get(Outcome.KNOWN_DEFECT):
            met = len(report.defects)
            entries = "a known defect says" if met == 1 else f"{met} known defects say"
            said.append(f"{known} failed exactly as {entries}.")
        if skipped := counts.get(Outcome.SKIP):
            were = "was not asked or does" if skipped == 1 else "were not asked or do"
            said.append(f"{skipped} more {were} not apply here.")
        if not report.finished:
            said.append("The run did not end.")
        return " ".join(said)

    def _passed(self, judged: int) -> str:
        passed = self.report.counts.get(Outcome.PASS, 0)
        many = "the one check" if judged == 1 else f"all {judged} checks"
        share = many if passed == judged else f"{passed} of {judged} checks"
        if not self.report.vllm:
            return f"{share[0].upper()}{share[1:]} of {self.subject} passed; no vLLM was asked."
        return f"{self.report.served.label} passed {share} of {self.subject}."

    @property
    def subject(self) -> str:
        """The models that the checks are about."""
        names = self.models
        more = f" and {len(names) - 4} more models" if len(names) > 4 else ""
        return _listed(names) if not more else f"{', '.join(names[:4])}{more}"

    @cached_property
    def models(self) -> list[str]:
        """The second part of the checks' ids, each once."""
        return list(dict.fromkeys(check.id.split("/")[1] for check in self.report.checks))

    @cached_property
    def causes(self) -> list[Cause]:
        """What needs eyes, by outcome and reason."""
        found: dict[tuple[Outcome, str], list[Check]] = {}
        for outcome in BAD:
            for check in self.report.checks:
                if check.outcome is outcome:
                    found.setdefault((outcome, _NUMBER.sub("#", _first(check))), []).append(check)
        return [Cause(key[0], _first(mine[0]), tuple(mine)) for key, mine in found.items()]

    @property
    def defects(self) -> Sequence[MetDefect]:
        """The known defects that checks met."""
        return self.report.defects

    @cached_property
    def proofs(self) -> list[Proof]:
        """Every group that has checks, in the groups' own order."""
        by_group: dict[str, list[Check]] = {}
        for check in self.report.checks:
            by_group.setdefault(check.group, []).append(check)
        names = [*(g for g in GROUPS if g in by_group), *sorted(by_group.keys() - set(GROUPS))]
        return [_proof(name, by_group[name]) for name in names]

    @cached_property
    def not_proved(self) -> list[str]:
        """What a pass of this run must not be taken for, a sentence each."""
        report = self.report
        said = [f"Cannot be seen: {limit}" for limit in report.limits]
        if report.shard:
            said.append(f"This is part {report.shard.index} of {report.shard.count} of a run")
        if left := [group for group in GROUPS if group not in {p.group for p in self.proofs}]:
            said.append(f"Not asked at all: {', '.join(left)}")
        for reason, count in self.skips.items():
            said.append(f"Not judged, {count} {'check' if count == 1 else 'checks'}: {reason}")
        return said

    @cached_property
    def skips(self) -> Counter[str]:
        """Why checks were skipped, most frequent first; no reason is counted twice."""
        whys = (_first(c) for c in self.report.checks if c.outcome is Outcome.SKIP)
        return Counter(dict(Counter(whys).most_common()))

    @cached_property
    def seeded(self) -> list[str]:
        """Mutants in the servers: their failures are meant."""
        return _patches(self.report, "mutant")

    @property
    def fixes(self) -> list[str]:
        """Fixes of known defects in the servers."""
        return _patches(self.report, "fix")

    @property
    def vllm_lines(self) -> list[str]:
        """What was changed about the vLLM that was served."""
        return vllm_lines.lines(self.report.served)

    @cached_property
    def repeat_prefix(self) -> str:
        """The command that repeats a check, up to the check's id, where all have the same one."""
        prefixes = {c.repeat.removesuffix(c.id) for c in self.report.checks if c.repeat}
        return next(iter(prefixes)) if len(prefixes) == 1 else ""


_ENDED = {
    Outcome.FAIL: "failed",
    Outcome.ERROR: "could not be judged",
    Outcome.VOID: "proved nothing",
    Outcome.FIXED_UPSTREAM: "passed where a known defect was expected",
}


def _proof(group: str, checks: Sequence[Check]) -> Proof:
    good = [check for check in checks if check.outcome in GOOD]
    errors = [c.error for c in good if c.error is not None]
    powers = [c.effect / c.tolerance for c in good if c.effect is not None and c.tolerance]
    return Proof(
        group=group,
        claim=claims.of(group),
        counts=dict(Counter(str(check.outcome) for check in checks)),
        seconds=sum(check.duration_s for check in checks),
        error=max(errors, default=None),
        power=min(powers, default=None),
    )


def _patches(report: Report, kind: str) -> list[str]:
    every = (patch for server in report.servers for patch in server.patches)
    return list(dict.fromkeys(p["id"] for p in every if p.get("kind") == kind))


def why(check: Check) -> str:
    """Why the check ended as it did, on one or more lines."""
    if check.outcome is Outcome.FIXED_UPSTREAM:
        return f"passed, so that the entry {check.defect} of known_defects.toml is stale"
    return check.reason or check.defect or str(check.outcome)


def _first(check: Check) -> str:
    return why(check).partition("\n")[0]


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
