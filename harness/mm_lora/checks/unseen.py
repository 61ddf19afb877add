"""What seeded mistakes no check that passed in a run can see: a limit that its report says."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check
from mm_lora.core.selection import matches
from mm_lora.families import registry
from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.registry import Patch


def unseen(
    checks: Iterable[Check],
    families: Collection[str],
    version: str,
    patches: Sequence[Patch] = PATCHES,
) -> list[str]:
    """The limit, if there is one: the mutants of the families none of whose `kills` passed.

    `version`: of the vLLM; what is made for others is not counted. Empty where it is not known.

    A check that failed, as a known defect says or not, would have failed of the mutant too.
    """
    passed = [check.id for check in checks if check.outcome is Outcome.PASS]
    mine = [
        patch
        for patch in patches
        if patch.kills
        and _is_of(patch.families, families)
        and not patch.misfit(version, patch.platform)
    ]
    missed = [
        patch
        for patch in mine
        if not any(matches(pattern, check) for pattern in patch.kills for check in passed)
    ]
    if not missed:
        return []
    groups = Counter(patch.kills[0].partition("/")[0] for patch in missed)
    where = ", ".join(f"{group} {count}" for group, count in sorted(groups.items()))
    return [
        f"mistakes like {len(missed)} of {len(mine)} mutants, whose checks did not pass here "
        f"({where})"
    ]


def families_of(checks: Iterable[Check]) -> set[str]:
    """The families of the published models that the checks name."""
    published = registry.published()
    names = {name for check in checks for name in check.id.split("/")[1:2]}
    return {published[name].name for name in names if name in published}


def _is_of(named: Collection[str], families: Collection[str]) -> bool:
    return not named or not set(named).isdisjoint(families)
