"""`mm-lora tokens`: the token arithmetic of a model for pictures of any size, with their tiling."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mm_lora.core.asking import Picture
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.families.flow import Flow

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mm_lora.families.models import Model

DEFAULT_PICTURES = ("336x336", "700x400", "1344x1344", "5376x336")
SCHEMA = 1


def run(model: str, images: Sequence[str], as_json: bool) -> int:
    """Print the token flow of each picture; returns the exit code.

    `model`: a published model, a family, or a path to a config.json or model folder. `images`:
    sizes in pixels, `WIDTHxHEIGHT`; some telling ones if empty. Raises UsageError on a wrong one.
    """
    from mm_lora.families import models

    resolved = models.resolve(model)
    sizes = [parse_size(image) for image in images or DEFAULT_PICTURES]
    flows = [flow_of(resolved, size) for size in sizes]
    if as_json:
        print(json.dumps(document([(resolved, flows)]), ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console

    Console().print(rendered(resolved, flows))
    return ExitCode.PASS


def flow_of(model: "Model", size: tuple[int, int]) -> Flow:
    """The flow of a picture of (width, height) pixels."""
    return model.family.flow(model.layout, Picture(width=size[0], height=size[1]))


def parse_size(image: str) -> tuple[int, int]:
    """(width, height) of a size like `700x400`; `×` is understood too. UsageError otherwise."""
    width, cross, height = image.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(
            f"{image!r} is not a picture size",
            "--image takes WIDTHxHEIGHT in pixels, such as 700x400",
        )
    return int(width), int(height)


def document(rows: Sequence[tuple["Model", Sequence[Flow]]]) -> dict[str, Any]:
    """The JSON document of `--json`: one entry per model, each with its pictures' flows."""
    return {
        "schema": SCHEMA,
        "models": [
            {
                "model": model.name,
                "source": source(model),
                "geometry": asdict(model.layout),
                "pictures": [flow.as_json() for flow in flows],
            }
            for model, flows in rows
        ],
    }


def source(model: "Model") -> str:
    """Where the numbers come from; says so where they are no published checkpoint's."""
    note = model.family.source_note(model.layout)
    return f"{model.source}; {note}" if note and note not in model.source else model.source


def rendered(model: "Model", flows: Sequence[Flow]) -> "RenderableType":
    """The table and the drawings, for a terminal."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    first, *more = model.family.describe(model.layout)
    lines = "".join(f"\n{line}" for line in more)
    head = Text.assemble((model.name, "bold"), f"  {first}\n", (source(model), "dim"), lines)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    numbers = [{k: v for k, v in flow.as_json().items() if k not in _SIZE} for flow in flows]
    for heading in ("picture", *(key.replace("_", " ") for key in numbers[0])):
        table.add_column(heading, justify="right")
    for flow, row in zip(flows, numbers, strict=True):
        table.add_row(flow.name, *map(str, row.values()))
    panels = [
        Panel.fit(flow.drawing, title=flow.name, border_style="dim")
        for flow in flows
        if flow.drawing
    ]
    return Group(head, "", table, "", Columns(panels))


_SIZE = ("width", "height")
