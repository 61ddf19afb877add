"""Reads a model's geometry from its files, and draws how a picture is cut."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.llama4.geometry import MAX_CHUNKS, Geometry, TokenFlow


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Geometry:
    """The geometry of a config.json; `max_patches` from the image processor in its folder."""
    return Geometry.from_config(config, max_chunks=_max_chunks(folder) if folder else MAX_CHUNKS)


def _max_chunks(folder: Path) -> int:
    """`max_patches` of the folder's image processor; the published 16 where it has none."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {error}", "a JSON object") from None
        nested = data.get("image_processor") if isinstance(data, Mapping) else None
        for settings in (data, nested):
            if isinstance(settings, Mapping) and "max_patches" in settings:
                found: int = settings["max_patches"]  # Geometry checks it
                return found
    return MAX_CHUNKS


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
