"""Known defects of released vLLMs: which entry excuses a failure, and which have gone stale."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from packaging.specifiers import SpecifierSet

from mm_lora.core import typed
from mm_lora.core.outcomes import Outcome, Verdict
from mm_lora.core.record import DefectEntry
from mm_lora.core.resources import fixtures_dir
from mm_lora.core.selection import matches
from mm_lora.families import registry
from mm_lora.families.family import Family

SERVER_DIES = "server-dies"
NO_START = "no-start"
"""No check of the server can be judged: the server ends while it starts."""


@dataclass(frozen=True, kw_only=True)
class Defect(DefectEntry):
    """One entry of known_defects.toml. `versions`: PEP 440 ranges with `||` between.

    `signature`: a predictor's name, or a failure's pattern.
    `smallest`: the id of the check that shows it with the least, `{model}` in place of the model's
    name. `families`: those whose models have it, empty for all. `by_chance`: the others may pass,
    since who meets whom in a step is up to the machine. `means`: what it is to a user's adapter,
    where a predictor can meet it there; `without`: vLLMs that were tried and do not have it.
    """

    checks: tuple[str, ...]
    smallest: str = ""
    means: str = ""
    without: tuple[str, ...] = ()

    def concerns(self, check_id: str, version: str, platform: str) -> bool:
        """Whether the entry speaks of this check on this vLLM; `platform` is cpu or gpu."""
        return (
            self.seen_in(version, platform)
            and self._has_model(check_id.split("/")[1])
            and any(matches(pattern, check_id) for pattern in self.checks)
        )

    def _has_model(self, name: str) -> bool:
        """Whether the entry speaks of a model's family; of a user's own model it may."""
        family = registry.published().get(name)
        return family is None or self.is_of(family)

    def is_of(self, family: Family) -> bool:
        """Whether models of the family have it."""
        return not self.families or family.name in self.families

    def may_end_server(self, check_id: str, platform: str) -> bool:
        """Whether it is said of some vLLM that the check ends its server."""
        return (
            self.symptom == SERVER_DIES
            and self.platform in ("any", platform)
            and self._has_model(check_id.split("/")[1])
            and any(matches(pattern, check_id) for pattern in self.checks)
        )

    def seen_in(self, version: str, platform: str) -> bool:
        """Whether the entry speaks of this vLLM."""
        ranges = self.versions.split("||")
        return self.platform in ("any", platform) and any(
            version in SpecifierSet(one, prereleases=True) for one in ranges
        )

    def expects_failure(self, check_id: str) -> bool:
        """Whether a check that the entry concerns cannot pass while the defect is there."""
        pattern = self.smallest.replace("{model}", "*")
        return not self.by_chance or matches(pattern, check_id)

    @property
    def spelled_versions(self) -> str:
        """Its ranges for people; one that holds a single version as that."""
        ranges = (part.strip() for part in self.versions.split("||"))
        return ", ".join(re.sub(r"^(==|>=(.+),<=(?=\2$))", "", part) for part in ranges)

    @property
    def in_words(self) -> str:
        """For the user whose adapter meets it: name, meaning, fix, and versions without it."""
        free = f"vLLM {', '.join(self.without)} is" if self.without else "no vLLM is known to be"
        return (
            f"the known defect {self.id}, not your adapter: {self.means or self.observed}; "
            f"fix: patch {self.fix}, `--with-fixes` serves with it; "
            f"seen in vLLM {self.spelled_versions}, {free} without it"
        )

    def explains(self, verdict: Verdict) -> bool:
        """Whether the failure is exactly the entry's: by a predictor that hit, or by its text."""
        if self.symptom in ("wrong-value", "accepted-without-effect"):
            return self.signature in verdict.predicted_by
        return re.search(self.signature, f"{verdict.reason}\n{verdict.observed}", re.S) is not None


@dataclass(frozen=True)
class _File:
    defect: tuple[Defect, ...] = ()


def load(path: Path | None = None) -> list[Defect]:
    """All entries. Raises UsageError for an entry with a missing or unknown key."""
    return list(_read(path) if path else _own())


def _read(file: Path) -> tuple[Defect, ...]:
    check = "that each entry has the keys of those already there"
    return typed.read_toml(file, _File, check).defect


@cache
def _own() -> tuple[Defect, ...]:
    """Those of this mm-lora, read once: the file is long."""
    return _read(fixtures_dir() / "known_defects.toml")


def signatures(defects: Sequence[Defect], version: str, platform: str) -> list[str]:
    """What the defects of this vLLM are known by: those that predictors may compute among them."""
    return [defect.signature for defect in defects if version and defect.seen_in(version, platform)]


def with_known_defects(
    verdict: Verdict, check_id: str, version: str, platform: str, defects: Sequence[Defect]
) -> tuple[Outcome, str | None]:
    """The outcome with the known defects in mind, and the id of the entry that decided it.

    A failure that an entry explains is `known-defect`, and so is a claim that proves nothing since
    an adapter has no effect, and a server that does not start; any other stays what it is. A pass
    where an entry expects a failure is `fixed-upstream`: inside its versions the entry is stale.
    """
    mine = [defect for defect in defects if defect.concerns(check_id, version, platform)]
    if verdict.outcome in (Outcome.FAIL, Outcome.VOID) or verdict.is_no_start:
        for defect in mine:
            if (defect.symptom == NO_START) is verdict.is_no_start and defect.explains(verdict):
                return Outcome.KNOWN_DEFECT, defect.id
    stale = [defect for defect in mine if defect.expects_failure(check_id)]
    if verdict.outcome is Outcome.PASS and stale:
        return Outcome.FIXED_UPSTREAM, stale[0].id
    return verdict.outcome, None
