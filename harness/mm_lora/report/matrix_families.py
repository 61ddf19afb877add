"""A matrix by family: what each vLLM does for each of them, what appeared and what got lost. Pure.

It is read from the rows of the matrix: a check's id has the model's name, and a model a family.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mm_lora.core.outcomes import Outcome
from mm_lora.families import registry
from mm_lora.report.matrix_rows import Row, neighbours

Counts = Mapping[str, Mapping[str, int]]
"""Check group → outcome → how many."""

_WORKS = {str(Outcome.PASS), str(Outcome.FIXED_UPSTREAM)}


@dataclass(frozen=True, kw_only=True)
class FamilyRow:
    """One family on one vLLM with one patch."""

    family: str
    version: str
    patch: str
    groups: Counts


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Check groups of a family in which something passes that did not in the row above, or the
    other way round."""

    family: str
    before: str
    after: str
    appeared: tuple[str, ...]
    lost: tuple[str, ...]


def family_rows(rows: Sequence[Row]) -> list[FamilyRow]:
    """By family, then by row; a user's own model stands under its own name."""
    found = [(row, counted(row)) for row in rows]
    names = dict.fromkeys(name for _, counts in found for name in counts)
    return [
        FamilyRow(
            family=name,
            version=row.version,
            patch=row.patch,
            groups={group: dict(one) for group, one in counts[name].items()},
        )
        for name in names
        for row, counts in found
        if name in counts
    ]


def counted(row: Row) -> dict[str, dict[str, Counter[str]]]:
    """Family → check group → outcome → how many."""
    published = registry.published()
    found: dict[str, dict[str, Counter[str]]] = {}
    for check, outcome in row.checks.items():
        group, model, *_ = check.split("/")
        family = published[model].name if model in published else model
        found.setdefault(family, {}).setdefault(group, Counter())[outcome] += 1
    return found


def turns(rows: Sequence[Row]) -> list[Turn]:
    """Between each row that ran and the one above; families of which nothing turned are left out.

    Of checks that both rows have: what only one of them has was not asked of the other.
    """
    return [turn for above, row in neighbours(rows) for turn in _turned(above, row)]


def _turned(above: Row, row: Row) -> Iterator[Turn]:
    both = above.checks.keys() & row.checks.keys()
    before, after = (counted(_only(one, both)) for one in (above, row))
    for family in after:
        old, new = _working(before[family]), _working(after[family])
        if old != new:
            yield Turn(
                family=family,
                before=above.label,
                after=row.label,
                appeared=tuple(sorted(new - old)),
                lost=tuple(sorted(old - new)),
            )


def _only(row: Row, ids: Iterable[str]) -> Row:
    kept = set(ids)
    return replace(row, checks={i: outcome for i, outcome in row.checks.items() if i in kept})


def _working(groups: Mapping[str, Counter[str]]) -> set[str]:
    return {group for group, counts in groups.items() if _WORKS & counts.keys()}
