"""Which checks judge which mutant, in which order and on which server; pure functions.

Every candidate of a mutant is judged clean, then under the mutant, then clean again. A judgement of
a check has an id of its own, CHECK@clean-MUTANT, CHECK@MUTANT or CHECK@after-MUTANT, and a toggled
mutant acts in its own alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from mm_lora.core.errors import UsageError
from mm_lora.core.selection import matches, require_matches
from mm_lora.inside.registry import Patch
from mm_lora.run.plan import Planned
from mm_lora.run.shards import Shard

SILENT = "mutant-silent-rows"
"""Seeded in every server of a CPU: a wrong count then gives wrong numbers, as on a GPU, not a
crash. No mutant to be judged."""


class Lane(StrEnum):
    """Which checks may see a mutant: all; what an outsider sees, without rows; relations alone."""

    CHECKS = "checks"
    ANSWERS = "answers"
    RELATIONS = "relations"

    def has(self, check: Planned) -> bool:
        """Whether a check is in the lane. What judges the traces of others never is."""
        if check.wish is None or check.skip or check.last or check.deadly:
            return False
        if self is Lane.RELATIONS:
            return check.id.startswith("relations/")
        return self is Lane.CHECKS or not check.wish.probe


class Part(StrEnum):
    """Of the judgements of one candidate."""

    CLEAN = "clean"
    SEEDED = "seeded"
    AFTER = "after"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One judgement of the check `case`, with `mutant` or before or after it."""

    case: str
    mutant: str
    part: Part

    @property
    def id(self) -> str:
        """As the run and its report call it."""
        before = "" if self.part is Part.SEEDED else f"{self.part}-"
        return f"{self.case}@{before}{self.mutant}"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A mutant, and the candidates that are to see it in each lane, the quickest first.

    `reason`: why it is not judged at all.
    """

    patch: Patch
    lanes: Mapping[Lane, tuple[str, ...]] = field(default_factory=dict)
    reason: str = ""

    @property
    def cases(self) -> list[str]:
        """Every candidate once."""
        return list(dict.fromkeys(case for cases in self.lanes.values() for case in cases))


def chosen(patches: Iterable[Patch], family: str, only: Sequence[str] = ()) -> list[Patch]:
    """The mutants of a family, those alone that the patterns of `only` name.

    A pattern may leave out the `mutant-`. Raises UsageError for one that names none of them.
    """
    all_of_them = [one for one in patches if one.kind == "mutant" and one.id != SILENT]
    mine = [one for one in all_of_them if not one.families or family in one.families]
    wanted = [word if word.startswith(("mutant-", "*")) else f"mutant-{word}" for word in only]
    for word in wanted:
        others = [one for one in all_of_them if matches(word, one.id)]
        if others and not any(one in mine for one in others):
            named = sorted({name for one in others for name in one.families})
            raise UsageError(
                f"--only '{word}' names no mutant of {family}",
                f"--family {' or '.join(named)}",
            )
    require_matches(wanted, [one.id for one in mine], "--only", "mutant", "docs/mutants.md")
    if wanted:
        mine = [one for one in mine if any(matches(word, one.id) for word in wanted)]
    return mine


def share(mutants: Sequence[Patch], shard: Shard | None) -> Sequence[Patch]:
    """The shard's part of them, each in one part."""
    return mutants if shard is None else mutants[shard.index - 1 :: shard.count]


def trials(
    mutants: Iterable[Patch],
    checks: Sequence[Planned],
    lanes: Sequence[Lane],
    *,
    misfit: Mapping[str, str],
    every: bool = False,
) -> list[Trial]:
    """Each mutant with its candidates among `checks`.

    `misfit`: mutant → why it does not fit this vLLM. `every`: judge in the lanes too that are said
    not to see it.
    """
    made = []
    for patch in mutants:
        reason = misfit.get(patch.id, "")
        if not reason and patch.kills and not _named(patch, checks, Lane.CHECKS):
            reason = "none of its checks is there for this model"
        found = {} if reason else {lane: _candidates(patch, checks, lane, every) for lane in lanes}
        made.append(Trial(patch=patch, lanes=found, reason=reason))
    return made


def _named(patch: Patch, checks: Sequence[Planned], lane: Lane) -> list[str]:
    mine = [check.id for check in checks if lane.has(check)]
    return [one for pattern in patch.kills for one in mine if matches(pattern, one)]


def _candidates(
    patch: Patch, checks: Sequence[Planned], lane: Lane, every: bool
) -> tuple[str, ...]:
    """Those of its kills that are in the lane; where there are none, the lane's part of the core,
    if nobody says that it cannot see the mutant."""
    named = _named(patch, checks, lane)
    if not named and (every or lane not in patch.survives):
        named = [check.id for check in checks if check.core and lane.has(check)]
    return tuple(dict.fromkeys(named))


def turns(found: Iterable[Trial]) -> list[Turn]:
    """Every judgement that may be needed, mutant by mutant.

    A toggled mutant is seeded once for all its candidates. One with servers of its own is judged
    candidate by candidate, so that no server is started for one that is not needed any more.
    """
    made = []
    for trial in found:
        mutant, cases = trial.patch.id, trial.cases
        if trial.patch.needs_restart:
            order = [(case, part) for case in cases for part in (Part.CLEAN, Part.SEEDED)]
        else:
            order = [(case, part) for part in Part for case in cases]
        made += [Turn(case=case, mutant=mutant, part=part) for case, part in order]
    return made


def planned(
    wanted: Iterable[Turn], checks: Iterable[Planned], mutants: Iterable[Patch], platform: str
) -> list[Planned]:
    """The judgements as checks of a plan: one server for all that is toggled and all that is clean,
    one more for each mutant that needs a restart."""
    by_id = {check.id: check for check in checks}
    patches = {one.id: one for one in mutants}
    silent = (SILENT,) if platform == "cpu" else ()
    toggled = tuple(f"{one.id}@*@{one.id}" for one in patches.values() if not one.needs_restart)
    made = []
    for turn in wanted:
        check = by_id[turn.case]
        assert check.wish is not None
        own = turn.part is Part.SEEDED and patches[turn.mutant].needs_restart
        seeded = (*silent, *((turn.mutant,) if own else toggled))
        wish = replace(check.wish, patches=(*check.wish.patches, *seeded))
        made.append(replace(check, id=turn.id, case=check.id, wish=wish))
    return made
