"""The report's token-flow table: the counts of all four ways for each picture, side by side.

Filled cell by cell as the checks run, since each way is asked by a check of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.core.table import Cell, Column, Kind, Table, Tables
from mm_lora.families.flow import Flow, HookCase
from mm_lora.families.models import Model
from mm_lora.families.modules import CONNECTOR, TOWER
from mm_lora.serving.hook_client import HookAnswer

NAME = "token-flow"
TITLE = "Token flow (tower rows / connector rows; transformers: image tokens / prompt tokens)"
TRANSFORMERS, HOOK, MEASURED = "transformers", "vLLM hook", "measured rows"
NOT_ASKED = "not asked"
"""What an absent cell is shown as: this run left out the check that fills it."""
COLUMNS: tuple[Column | str, ...] = (
    "model",
    "layout",
    "source",
    "picture",
    Column("units", Kind.COUNT),
    "expected",
    *(Column(way, absent=NOT_ASKED) for way in (TRANSFORMERS, HOOK, MEASURED)),
)


def table_flows(model: Model, most_tokens: int) -> tuple[Flow, ...]:
    """One unit, few, many, and the most that a prompt of so many tokens can hold."""
    family = model.family
    named = [family.flow(model.layout, family.sizes.picture(r)) for r in ("one", "few", "many")]
    shown = {
        picture.seen_size: family.flow(model.layout, picture.asked)
        for prompt in family.questions(model.layout)
        for picture in prompt
    }
    fit = [flow for flow in shown.values() if flow.prompt_tokens <= most_tokens]
    most = max(fit, key=lambda flow: (flow.prompt_tokens, -flow.size[0] * flow.size[1]))
    return (*named, most)


def note(tables: Tables, model: Model, column: str, cells: Mapping[tuple[int, int], str]) -> None:
    """Put `cells`, (width, height) → text, into `column`; a picture not yet there gets a row."""
    table = tables.named(NAME, TITLE, COLUMNS)
    for size, text in cells.items():
        table.set(_place(table, model, size), column, text)


def transformers_cells(
    flows: Sequence[Flow], answered: Sequence[Mapping[str, Any]]
) -> dict[tuple[int, int], str]:
    """`image / prompt tokens` of each picture, from the processor's answer of the same place."""
    return {
        flow.size: f"{counts['image_tokens']} / {counts['prompt_tokens']}"
        for flow, counts in zip(flows, answered, strict=True)
    }


def hook_cells(
    flows: Sequence[Flow], cases: Sequence[HookCase], answer: HookAnswer
) -> dict[tuple[int, int], str]:
    """`tower / connector` rows that vLLM's class says for the image tokens of each picture."""
    asked = [pair for pair in zip(cases, answer.counts, strict=False) if not pair[0].least]
    by_tokens = {case.tokens: count for case, count in asked}
    # Where pictures of as many image tokens have other rows, each is asked by its name.
    by_name = {case.label: count for case, count in asked}
    cells = {}
    for flow in flows:
        count = by_name.get(flow.name) or by_tokens.get(flow.tokens)
        if count is not None:
            connector = "none" if count.connector is None else count.connector
            cells[flow.size] = count.raised or f"{count.tower} / {connector}"
    return cells


def expected_rows(model: Model, flow: Flow) -> str:
    """`tower / connector` by our own arithmetic."""
    family = model.family
    rows = (
        family.mapped_rows(flow, role) if role in family.mapped else "none"
        for role in (TOWER, CONNECTOR)
    )
    return " / ".join(map(str, rows))


def _place(table: Table, model: Model, size: tuple[int, int]) -> int:
    picture = f"{size[0]}×{size[1]}"
    found = table.find(model=model.name, picture=picture)
    if found is not None:
        return found
    flow = model.family.flow(model.layout, model.family.sizes.drawn(size))
    layout, _, _ = model.family.describe(model.layout)[0].partition(", ")
    numbers = (flow.units, expected_rows(model, flow))
    table.add(model.name, layout, model.source, picture, *numbers, None, None, None)
    # Grouped by model, in the order in which the models came.
    names: list[Cell] = list(dict.fromkeys(row[0] for row in table.rows))
    table.sort(lambda row: (names.index(row[0]), row[4]))
    place = table.find(model=model.name, picture=picture)
    assert place is not None
    return place
