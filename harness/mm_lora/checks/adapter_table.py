"""The report's table of adapters: what each served one targets, from PEFT's own keys and shapes."""

from collections.abc import Iterable

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.core.table import Cell, Column, Kind, Tables

NAME = "adapters"
TITLE = "Adapters: group, modules, tensors, parameters"
COLUMNS = (
    "model",
    "adapter",
    Column("rank", Kind.COUNT),
    Column("alpha", Kind.NUMBER),
    "group",
    Column("modules", Kind.COUNT),
    Column("tensors", Kind.COUNT),
    Column("parameters", Kind.COUNT),
)


def add_rows(tables: Tables, model: str, adapters: Iterable[BuiltAdapter]) -> None:
    """One row for each group that an adapter has modules in; an adapter is told once."""
    table = tables.named(NAME, TITLE, COLUMNS, brief=False)
    told = {(row[0], row[1]) for row in table.rows}
    for adapter in adapters:
        if (model, adapter.name) in told:
            continue
        for part in adapter.coverage:
            numbers = [part[column] for column in ("group", "modules", "tensors", "parameters")]
            spec = adapter.spec  # None for the user's own
            scale: list[Cell] = [spec.rank, spec.alpha] if spec else ["own", "own"]
            table.add(model, adapter.name, *scale, *numbers)
