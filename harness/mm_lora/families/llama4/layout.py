"""Reads a model's geometry from its files, and draws how a picture is cut."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.families import tiles
from mm_lora.families.image_processor import require_same, stored_settings
from mm_lora.families.llama4.geometry import MAX_CHUNKS, Geometry, TokenFlow


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Geometry:
    """The geometry of a config.json; `max_patches` from the image processor in its folder."""
    if folder is None:
        return Geometry.from_config(config)
    geometry = Geometry.from_config(config, max_chunks=_max_chunks(folder))
    require_same(folder, dict.fromkeys(("size.height", "size.width"), geometry.image_size))
    return geometry


def _max_chunks(folder: Path) -> int:
    """`max_patches` of the folder's image processor; the published 16 where it has none."""
    for data, nested in stored_settings(folder):
        for settings in (data, nested):
            if "max_patches" in settings:
                found: int = settings["max_patches"]  # Geometry checks it
                return found
    return MAX_CHUNKS


def drawing(flow: TokenFlow) -> str:
    """See `tiles`."""
    return tiles.drawing(flow.tile_rows, flow.tile_columns, whole=flow.chunks > 1)
