"""`mm-lora tokens`: the token arithmetic of a model for pictures, videos and sounds of any size."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from mm_lora.core.asking import Encoded, Picture, Sound, Video
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.families.flow import Flow

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mm_lora.families.models import Model

DEFAULT_PICTURES = ("336x336", "700x400", "1344x1344", "5376x336")
DEFAULT_SOUNDS = ("8000", "16000", "105000", "480000")
SCHEMA = 1


def run(
    model: str,
    images: Sequence[str],
    as_json: bool,
    videos: Sequence[str] = (),
    sounds: Sequence[str] = (),
) -> int:
    """Print the token flow of each medium; returns the exit code.

    `model`: a published model, a family, or a path to a config.json or model folder. `images`:
    sizes in pixels, `WIDTHxHEIGHT`; `videos`: `FRAMESxWIDTHxHEIGHT`; `sounds`: samples, or
    `SAMPLESxRATE`; some telling pictures or sounds if all are empty. Raises UsageError on a wrong
    one, or for a kind of medium that the model does not take.
    """
    from mm_lora.families import models

    resolved = models.resolve(model)
    family = resolved.family
    asked = {"image": images, "video": videos, "audio": sounds}
    for kind, sizes in asked.items():
        if sizes and kind not in family.media:
            named = {"image": "pictures", "video": "videos", "audio": "sounds"}[kind]
            taken = ", ".join(family.media)
            raise UsageError(f"{resolved.name} takes no {named}", f"media: {taken}")
    if not any(asked.values()):
        if "image" in family.media:
            images = DEFAULT_PICTURES
        else:
            sounds = DEFAULT_SOUNDS
    media: list[Encoded] = [
        *map(picture, images),
        *map(parse_video, videos),
        *map(parse_sound, sounds),
    ]
    flows = [family.flow(resolved.layout, medium) for medium in media]
    if as_json:
        print(json.dumps(document([(resolved, flows)]), ensure_ascii=False, indent=1))
        return ExitCode.PASS
    from rich.console import Console

    Console().print(rendered(resolved, flows))
    return ExitCode.PASS


def picture(image: str) -> Picture:
    """A picture of the size of `--image`."""
    width, height = parse_size(image)
    return Picture(width=width, height=height)


def parse_size(image: str) -> tuple[int, int]:
    """(width, height) of a size like `700x400`; `×` is understood too. UsageError otherwise."""
    numbers = _numbers(image)
    if len(numbers) != 2 or 0 in numbers:
        raise UsageError(
            f"{image!r} is not a picture size",
            "--image takes WIDTHxHEIGHT in pixels, such as 700x400",
        )
    return numbers[0], numbers[1]


def parse_video(video: str) -> Video:
    """The video of `8x320x240`: frames, width, height. UsageError otherwise."""
    numbers = _numbers(video)
    if len(numbers) != 3 or 0 in numbers[1:]:
        raise UsageError(
            f"{video!r} is not a video's size",
            "--video takes FRAMESxWIDTHxHEIGHT, the frames that the model sees, such as 8x320x240",
        )
    return Video(frames=numbers[0], width=numbers[1], height=numbers[2])


def parse_sound(sound: str) -> Sound:
    """The sound of `48000` samples, or of `48000x16000`: samples, samples in a second."""
    numbers = _numbers(sound)
    if len(numbers) not in (1, 2) or 0 in numbers:
        raise UsageError(
            f"{sound!r} is not a sound's length",
            "--sound takes SAMPLES at 16000 in a second, such as 48000, or SAMPLESxRATE",
        )
    made = Sound(samples=numbers[0])
    return replace(made, rate=numbers[1]) if len(numbers) == 2 else made


def _numbers(size: str) -> list[int]:
    """The whole numbers between crosses; empty if one is none."""
    parts = size.lower().replace("×", "x").split("x")
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else []


def document(rows: Sequence[tuple["Model", Sequence[Flow]]]) -> dict[str, Any]:
    """The JSON document of `--json`: one entry per model, each with its pictures' flows, and with
    its videos' and sounds' where some were asked about."""
    models = []
    for model, flows in rows:
        videos, sounds = (
            [flow.as_json() for flow in flows if flow.medium == kind] for kind in ("video", "audio")
        )
        models.append(
            {
                "model": model.name,
                "source": source(model),
                "geometry": asdict(model.layout),
                "pictures": [flow.as_json() for flow in flows if flow.medium == "image"],
                **({"videos": videos} if videos else {}),
                **({"sounds": sounds} if sounds else {}),
            }
        )
    return {"schema": SCHEMA, "models": models}


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
