"""The known defects that a run found, each with its smallest case: one adapter, one request."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from mm_lora.checks.defects import Defect
from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check, DefectEntry, MetDefect, Smallest

HIT = (Outcome.KNOWN_DEFECT, Outcome.FIXED_UPSTREAM)


def entries(checks: Sequence[Check], defects: Sequence[Defect]) -> list[MetDefect]:
    """One entry a defect: that of known_defects.toml, how many checks met it, the smallest one."""
    found = []
    for defect in defects:
        mine = [check for check in checks if check.defect == defect.id and check.outcome in HIT]
        if not mine:
            continue
        smallest = min(mine, key=lambda check: _size(check, defect))
        case = Smallest(**_part(smallest, Smallest))
        entry = _part(defect, DefectEntry)
        found.append(MetDefect(**entry, smallest=case, met_by=len(mine)))
    return found


def _part(whole: Any, kind: type[Smallest] | type[DefectEntry]) -> dict[str, Any]:
    """Those fields of `whole` that a `kind` has."""
    return {field.name: getattr(whole, field.name) for field in fields(kind)}


def _size(check: Check, defect: Defect) -> int:
    """0 for the check that the entry calls the smallest, 1 for any other."""
    model = check.id.split("/")[1]
    return int(check.id != defect.smallest.format(model=model))
