"""A medium of the checks, to scale: how it is cut, its rows of each kind, its prompt tokens."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mm_lora.core.table import Table
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.flow import Flow
from mm_lora.families.modules import LANGUAGE

HEIGHT, GAP = 84.0, 8.0
"""Of the drawn picture, and between it and the smaller copy of the whole, in pixels."""


@dataclass(frozen=True)
class Rect:
    """In pixels, with what is written in it."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True)
class Bar:
    """Rows of one kind as a bar, cut into `units`: `width` in percent of the model's widest.

    `role`: whose mapping they are, "" for rows that have none of their own.
    """

    name: str
    role: str
    rows: int
    units: int
    width: float


@dataclass(frozen=True)
class FlowPicture:
    """One medium on one model. `cut`: its parts, `width` the pixels that they take.

    `measured`: what was seen inside the running layers, in words; "" where it was not asked.
    """

    name: str
    medium: str
    unit: str
    units: int
    cut: list[Rect]
    width: float
    bars: list[Bar]
    measured: str


@dataclass(frozen=True)
class ModelFlows:
    """One model's media."""

    model: str
    layout: str
    pictures: list[FlowPicture]


def model_flows(models: Sequence[str], table: Table | None) -> list[ModelFlows]:
    """Those of the run's published models; of another one the report does not know the numbers.

    `table`: the report's token flow, for what was measured.
    """
    published = registry.published()
    return [_of_model(published[m], m, table) for m in models if m in published]


def _of_model(family: Family, model: str, table: Table | None) -> ModelFlows:
    layout = family.published_layout(family.published_config(model))
    media = [family.sizes.picture(role) for role in ("one", "few", "many")]
    flows = {flow.size: flow for flow in (family.flow(layout, medium) for medium in media)}
    widest = max(max(*flow.rows.values(), flow.prompt_tokens) for flow in flows.values())
    pictures = [_picture(family, model, flow, widest, table) for flow in flows.values()]
    return ModelFlows(model, "; ".join(family.describe(layout)), pictures)


def _picture(
    family: Family, model: str, flow: Flow, widest: int, table: Table | None
) -> FlowPicture:
    cut = list(_tiles(flow) if "width" in flow.measures else _strips(flow))
    return FlowPicture(
        name=flow.name,
        medium=flow.medium,
        unit=family.sizes.unit,
        units=flow.units,
        cut=cut,
        width=max(rect.x + rect.width for rect in cut),
        bars=_bars(family, flow, widest),
        measured=_measured(model, flow, table),
    )


def _bars(family: Family, flow: Flow, widest: int) -> list[Bar]:
    roles = {kind: role for role, kind in family.mapped.items()}
    numbers = [(f"{kind} rows", roles.get(kind, ""), rows) for kind, rows in flow.rows.items()]
    numbers.append(("placeholders", "", flow.tokens))
    cut = [
        Bar(name, role, rows, flow.units, round(100 * rows / widest, 2))
        for name, role, rows in numbers
    ]
    width = round(100 * flow.prompt_tokens / widest, 2)
    return [*cut, Bar("prompt tokens", LANGUAGE, flow.prompt_tokens, 1, width)]


def _tiles(flow: Flow) -> Iterator[Rect]:
    """The picture's tiles and, where there is one more unit, the whole beside them."""
    width = HEIGHT * min(3.0, max(0.4, flow.size[0] / flow.size[1]))
    rows, columns = flow.details.get("tile_rows", 1), flow.details.get("tile_columns", 1)
    if rows * columns > flow.units:
        rows = columns = 1
    for at in range(rows * columns):
        row, column = divmod(at, columns)
        label = str(at + 1) if rows * columns > 1 else ""
        wide, high = width / columns, HEIGHT / rows
        yield _rect(column * wide, row * high, wide, high, label)
    if flow.units > rows * columns and rows * columns > 1:
        yield _rect(width + GAP, HEIGHT / 2, width / 2, HEIGHT / 2, "whole")


def _strips(flow: Flow) -> Iterator[Rect]:
    """A sound's windows or a video's frames, one after the other."""
    width = 2.5 * HEIGHT / flow.units
    for at in range(flow.units):
        label = str(at + 1) if flow.units <= 12 else ""
        yield _rect(at * width, HEIGHT / 3, width, HEIGHT / 3, label)


def _rect(x: float, y: float, width: float, height: float, label: str) -> Rect:
    return Rect(round(x, 1), round(y, 1), round(width, 1), round(height, 1), label)


def _measured(model: str, flow: Flow, table: Table | None) -> str:
    if table is None or "measured rows" not in table.names:
        return ""
    place = table.find(model=model, picture=f"{flow.size[0]}×{flow.size[1]}")
    return "" if place is None else str(table.rows[place][table.names.index("measured rows")] or "")
