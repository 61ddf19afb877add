"""`mm-lora tokens`: the token arithmetic of a model for pictures of any size, with their tiling."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.families.llama4.geometry import Geometry, TokenFlow, token_flow

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mm_lora.families.models import Model

DEFAULT_PICTURES = ("336x336", "700x400", "1344x1344", "5376x336")
UNPUBLISHED = "unpublished: transformers' class defaults, not those of a published checkpoint"
SCHEMA = 1


def run(model: str, images: Sequence[str], as_json: bool) -> int:
    """Print the token flow of each picture; returns the exit code.

    `model`: scout, maverick, pr35147, or a path to a config.json or model folder. `images`: sizes
    in pixels, `WIDTHxHEIGHT`; some telling ones if empty. Raises UsageError on a wrong one.
    """
    from mm_lora.families import models

    resolved = models.resolve(model)
    flows = [
        token_flow(resolved.geometry, *parse_size(image)) for image in images or DEFAULT_PICTURES
    ]
    if as_json:
        print(json.dumps(document([(resolved, flows)]), ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console

    Console().print(rendered(resolved, flows))
    return ExitCode.PASS


def parse_size(image: str) -> tuple[int, int]:
    """(width, height) of a size like `700x400`; `×` is understood too. UsageError otherwise."""
    width, cross, height = image.lower().replace("×", "x").partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise UsageError(
            f"{image!r} is no picture size", "--image takes WIDTHxHEIGHT in pixels, such as 700x400"
        )
    return int(width), int(height)


def document(rows: Sequence[tuple["Model", Sequence[TokenFlow]]]) -> dict[str, Any]:
    """The JSON document of `--json`: one entry per model, each with its pictures' flows."""
    return {
        "schema": SCHEMA,
        "models": [
            {
                "model": model.name,
                "source": source(model),
                "geometry": asdict(model.geometry),
                "pictures": [asdict(flow) for flow in flows],
            }
            for model, flows in rows
        ],
    }


def source(model: "Model") -> str:
    """Where the numbers come from; says so where they are transformers' defaults (448)."""
    geometry = model.geometry
    defaults = Geometry.from_config({"vision_config": {}}, max_chunks=geometry.max_chunks)
    if geometry == defaults and UNPUBLISHED not in model.source:
        return f"{model.source}; {UNPUBLISHED}"
    return model.source


def rendered(model: "Model", flows: Sequence[TokenFlow]) -> "RenderableType":
    """The table and the tilings, for a terminal."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    geometry = model.geometry
    head = Text.assemble(
        (model.name, "bold"),
        f"  image_size {geometry.image_size} / patch_size {geometry.patch_size} / "
        f"pixel_shuffle_ratio {geometry.pixel_shuffle_ratio}, up to {geometry.max_chunks} tiles\n",
        (source(model), "dim"),
        f"\nrows of one chunk: {geometry.patch_rows} patches, {geometry.encoder_rows} encoder "
        f"(with CLS), {geometry.connector_rows} connector",
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    for heading in (
        "picture",
        "tiles",
        "chunks",
        "patch rows",
        "encoder rows",
        "connector rows",
        "image tokens",
        "prompt tokens",
    ):
        table.add_column(heading, justify="right")
    for flow in flows:
        cells: Mapping[str, Any] = asdict(flow)
        table.add_row(
            f"{flow.width}×{flow.height}",
            f"{flow.tile_columns}×{flow.tile_rows}",
            *(
                str(cells[name])
                for name in (
                    "chunks",
                    "patch_rows",
                    "encoder_rows",
                    "connector_rows",
                    "image_tokens",
                    "prompt_tokens",
                )
            ),
        )
    panels = [
        Panel.fit(drawing(flow), title=f"{flow.width}×{flow.height}", border_style="dim")
        for flow in flows
    ]
    return Group(head, "", table, "", Columns(panels))


def drawing(flow: TokenFlow) -> str:
    """The tiles as boxes, `columns` across and `rows` down, the global tile (G) beside them.

    A numbered box is a tile, in the order in which the tower sees them; G comes last.
    """
    cell = 2
    lines = []
    for row in range(flow.tile_rows):
        numbers = range(row * flow.tile_columns + 1, (row + 1) * flow.tile_columns + 1)
        left, middle, right = ("┌", "┬", "┐") if row == 0 else ("├", "┼", "┤")
        lines.append(left + middle.join(["─" * cell] * flow.tile_columns) + right)
        lines.append("│" + "│".join(f"{number:^{cell}}" for number in numbers) + "│")
    lines.append("└" + "┴".join(["─" * cell] * flow.tile_columns) + "┘")
    if flow.chunks > 1:
        for i, part in enumerate(
            ("┌" + "─" * cell + "┐", f"│{'G':^{cell}}│", "└" + "─" * cell + "┘")
        ):
            lines[i] += "  " + part
    return "\n".join(lines)
