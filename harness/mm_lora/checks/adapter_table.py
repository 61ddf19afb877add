"""The report's table of adapters: what each served one targets, from PEFT's own keys and shapes."""

from collections.abc import Iterable
from typing import Any

from mm_lora.adapters.built import BuiltAdapter

NAME = "adapters"
COLUMNS = ["model", "adapter", "rank", "alpha", "group", "modules", "tensors", "parameters"]


def add_rows(tables: dict[str, Any], model: str, adapters: Iterable[BuiltAdapter]) -> None:
    """One row for each group that an adapter has modules in; an adapter is told once."""
    table = tables.setdefault(
        NAME,
        {
            "title": "Adapters: group, modules, tensors, parameters",
            "columns": COLUMNS,
            "rows": [],
            "brief": False,
        },
    )
    told = {(row[0], row[1]) for row in table["rows"]}
    for adapter in adapters:
        if (model, adapter.name) in told:
            continue
        for part in adapter.coverage:
            numbers = [part[column] for column in ("group", "modules", "tensors", "parameters")]
            spec = adapter.spec  # None for the user's own
            scale = [spec.rank, spec.alpha] if spec else ["own", "own"]
            table["rows"].append([model, adapter.name, *scale, *numbers])
