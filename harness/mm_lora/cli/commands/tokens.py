"""`mm-lora tokens`: the token arithmetic of a model for pictures, videos and sounds of any size."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mm_lora.core.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mm_lora.families.models import Model
    from mm_lora.families.tokens import Tokens


def run(
    model: str,
    images: Sequence[str],
    as_json: bool,
    videos: Sequence[str] = (),
    sounds: Sequence[str] = (),
) -> int:
    """Print the token flow of each medium, as `tokens_of` computes it; returns the exit code.

    Raises UsageError for a wrong model or size, or a kind of medium that the model does not take.
    """
    from mm_lora.families.models import resolve
    from mm_lora.families.tokens import tokens_of

    resolved = resolve(model)
    found = tokens_of(resolved, images, videos, sounds)
    if as_json:
        print(json.dumps(found.as_json(), ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console

    Console().print(rendered(resolved, found))
    return ExitCode.PASS


def rendered(model: "Model", found: "Tokens") -> "RenderableType":
    """The table and the drawings, for a terminal."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    flows = [*found.pictures, *found.videos, *found.sounds]
    first, *more = model.family.describe(model.layout)
    lines = "".join(f"\n{line}" for line in more)
    head = Text.assemble((model.name, "bold"), f"  {first}\n", (found.source, "dim"), lines)
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    numbers = [{k: v for k, v in flow.as_json().items() if k not in _SIZE} for flow in flows]
    keys = dict.fromkeys(key for row in reversed(numbers) for key in row)
    widest = max(len(flow.name) for flow in flows)
    table.add_column("medium", justify="right", no_wrap=True, min_width=widest)
    for key in keys:
        table.add_column(key.replace("_", " "), justify="right")
    for flow, row in zip(flows, numbers, strict=True):
        table.add_row(flow.name, *(str(row.get(key, "")) for key in keys))
    panels = [
        Panel.fit(flow.drawing, title=flow.name, border_style="dim")
        for flow in flows
        if flow.drawing
    ]
    return Group(head, "", table, "", Columns(panels))


_SIZE = ("width", "height", "samples", "rate")
