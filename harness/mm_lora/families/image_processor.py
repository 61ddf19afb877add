"""Reads a processor's settings in a model folder, where any of several files may hold them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError

NAMES = ("preprocessor_config.json", "processor_config.json")

VIDEO_NAME = "video_preprocessor_config.json"
"""Where a folder has none, transformers reads the picture's settings for videos too."""


def stored_settings(
    folder: Path, names: Sequence[str] = NAMES
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Of each file that the folder has: its content, and the `image_processor` in it, or {}.

    Raises UsageError for one that is not JSON; what is not an object is passed over.
    """
    for name in names:
        file = folder / name
        if not file.is_file():
            continue
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{file} cannot be read: {error}", "a JSON object") from None
        if isinstance(data, Mapping):
            nested = data.get("image_processor")
            yield data, nested if isinstance(nested, Mapping) else {}


def require_same(
    folder: Path, wanted: Mapping[str, int | None], names: Sequence[str] = NAMES
) -> None:
    """Raise UsageError where a folder's processor states another number than its config.json.

    `wanted`: key of the settings, "key.key" for one inside another, and what the config says.
    Pictures would be cut one way and counted another.
    """
    for data, nested in stored_settings(folder, names):
        for settings in (data, nested):
            for path, number in wanted.items():
                key, _, inner = path.partition(".")
                found = settings.get(key)
                if inner:
                    found = found.get(inner) if isinstance(found, Mapping) else None
                if found is not None and number is not None and found != number:
                    raise UsageError(
                        f"the processor's {path} is {found}, by config.json it is {number}",
                        f"{' and '.join(names)}: whether they belong to this config.json",
                    )
