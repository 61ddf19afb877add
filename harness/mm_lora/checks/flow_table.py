"""The report's token-flow table: what each of the four ways says of each picture, side by side.

Filled cell by cell as the checks run, since each way is asked by a check of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.core.table import Cell, Column, Kind, Table, Tables
from mm_lora.families.llama4.geometry import Geometry, TokenFlow, token_flow
from mm_lora.families.llama4.pictures import every_chunk_count, pictures
from mm_lora.families.models import Model
from mm_lora.serving.hook_client import HookAnswer

NAME = "token-flow"
TITLE = "Token flow (encoder rows / connector rows; transformers: chunks / image tokens)"
TRANSFORMERS, HOOK, MEASURED = "transformers", "vLLM hook", "measured rows"
NOT_ASKED = "not asked"
"""What an absent cell is shown as: this run left out the check that fills it."""
COLUMNS: tuple[Column | str, ...] = (
    "model",
    "geometry",
    "source",
    "picture",
    Column("chunks", Kind.COUNT),
    "expected",
    *(Column(way, absent=NOT_ASKED) for way in (TRANSFORMERS, HOOK, MEASURED)),
)


def table_flows(geometry: Geometry, most_tokens: int) -> tuple[TokenFlow, ...]:
    """One tile, few chunks, many, and the most that a prompt of so many tokens can hold."""
    named = {picture.name: picture for picture in pictures(geometry)}
    rows = [picture.flow(geometry) for picture in every_chunk_count(geometry)]
    most = [flow for flow in rows if flow.prompt_tokens <= most_tokens][-1:]
    return (*(named[name].flow(geometry) for name in ("one-tile", "400x300", "700x400")), *most)


def note(tables: Tables, model: Model, column: str, cells: Mapping[tuple[int, int], str]) -> None:
    """Put `cells`, (width, height) → text, into `column`; a picture not yet there gets a row."""
    table = tables.named(NAME, TITLE, COLUMNS)
    for size, text in cells.items():
        table.set(_place(table, model, size), column, text)


def transformers_cells(
    flows: Sequence[TokenFlow], answered: Sequence[Mapping[str, Any]]
) -> dict[tuple[int, int], str]:
    """`chunks / image tokens` of each picture, from the processor's answer of the same place."""
    return {
        (flow.width, flow.height): f"{counts['chunks']} / {counts['image_tokens']}"
        for flow, counts in zip(flows, answered, strict=True)
    }


def hook_cells(flows: Sequence[TokenFlow], answer: HookAnswer) -> dict[tuple[int, int], str]:
    """`encoder / connector` rows that vLLM's class says for the image tokens of each picture."""
    by_embeds = {count.embeds: count for count in answer.counts}
    cells = {}
    for flow in flows:
        count = by_embeds[flow.image_tokens]
        said = count.raised or f"{count.tower} / {count.connector}"
        cells[flow.width, flow.height] = said
    return cells


def _place(table: Table, model: Model, size: tuple[int, int]) -> int:
    geometry, picture = model.geometry, f"{size[0]}×{size[1]}"
    found = table.find(model=model.name, picture=picture)
    if found is not None:
        return found
    flow = token_flow(geometry, *size)
    table.add(
        model.name,
        f"{geometry.image_size}/{geometry.patch_size}/{geometry.pixel_shuffle_ratio}",
        model.source,
        picture,
        flow.chunks,
        f"{flow.encoder_rows} / {flow.connector_rows}",
        None,
        None,
        None,
    )
    # Grouped by model, in the order in which the models came.
    names: list[Cell] = list(dict.fromkeys(row[0] for row in table.rows))
    table.sort(lambda row: (names.index(row[0]), row[4]))
    place = table.find(model=model.name, picture=picture)
    assert place is not None
    return place
