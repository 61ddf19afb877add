"""The coverage map: module groups against the wrappers that hold their layers, for each model."""

from collections.abc import Mapping
from dataclasses import dataclass

from mm_lora.core.table import Table
from mm_lora.families.modules import ROLES


@dataclass(frozen=True)
class Group:
    """A module group. `layers`: wrapper → how many wrapped layers; `missing`: transformers' modules
    that vLLM does not wrap, with the reason."""

    name: str
    layers: Mapping[str, int]
    modules: int
    missing: tuple[str, ...]


@dataclass(frozen=True)
class CoverageMap:
    """One model's groups; `wrappers` are the columns."""

    model: str
    wrappers: tuple[str, ...]
    groups: list[Group]


def coverage_maps(tables: Mapping[str, Table]) -> list[CoverageMap]:
    """From the report's tables `coverage` and `left-out`; empty without the first."""
    held = _records(tables.get("coverage"))
    missing = _records(tables.get("left-out"))
    found = []
    for model in dict.fromkeys(row["model"] for row in held):
        mine = [row for row in held if row["model"] == model]
        left = [row for row in missing if row["model"] == model]
        seen = {row["wrapper"] for row in mine}
        wrappers = (*(r for r in ROLES if r in seen), *sorted(seen - set(ROLES)))
        names = dict.fromkeys(row["group"] for row in [*mine, *left])
        groups = [_group(name, mine, left) for name in names]
        found.append(CoverageMap(model, wrappers, groups))
    return found


def _group(name: str, held: list[dict[str, str]], missing: list[dict[str, str]]) -> Group:
    layers: dict[str, int] = {}
    mine = [row for row in held if row["group"] == name]
    for row in mine:
        layers[row["wrapper"]] = layers.get(row["wrapper"], 0) + int(row["layers"] or 0)
    return Group(
        name=name,
        layers=layers,
        modules=sum(int(row["PEFT modules"] or 0) for row in mine),
        missing=tuple(
            f"{row['module of transformers']}: {row['reason in vLLM']}"
            for row in missing
            if row["group"] == name
        ),
    )


def _records(table: Table | None) -> list[dict[str, str]]:
    if table is None:
        return []
    return [dict(zip(table.names, row, strict=True)) for row in table.shown()]
