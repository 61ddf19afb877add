"""What kills each mutant, as its patch says: the list that the tests of mutants read."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from mm_lora.inside.catalogue import PATCHES

_KILLS = {patch.id: patch.kills for patch in PATCHES if patch.kind == "mutant"}


def kills(mutant: str, *groups: str, model: str = "scout") -> tuple[str, ...]:
    """The checks of these groups that a mutant fails, of a model; its patterns name each alone."""
    mine = [one for one in _KILLS[mutant] if one.startswith(tuple(f"{g}/" for g in groups))]
    assert mine, f"{mutant} names no check of {groups}: nothing would be tested"
    return tuple(one.replace("*", model, 1) for one in mine)


def table(mutants: Iterable[str], *groups: str) -> Mapping[str, Sequence[str]]:
    """Mutant → the checks of these groups that it fails."""
    return {mutant: kills(mutant, *groups) for mutant in mutants}


def quickest(mutants: Iterable[str], group: str) -> Mapping[str, Sequence[str]]:
    """Mutant → the quickest check of this group that it fails.

    `mm-lora mutants --every` judges the others: they make the same claim of more requests.
    """
    return {mutant: kills(mutant, group)[:1] for mutant in mutants}


def killed_by(mutants: Iterable[str], check_ids: Iterable[str]) -> set[str]:
    """Those of the checks that one of the mutants fails."""
    patterns = [pattern for mutant in mutants for pattern in _KILLS[mutant]]
    return {one for one in check_ids if any(fnmatchcase(one, p) for p in patterns)}
