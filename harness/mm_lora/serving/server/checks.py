"""Refuses a server whose paths are wrong before it costs a start."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from mm_lora.core.errors import UsageError
from mm_lora.serving.server.spec import ServerSpec


def check_before_start(
    spec: ServerSpec, python: Path, checkpoint: Path, adapters: Mapping[str, Path]
) -> None:
    """Raise UsageError for what cannot work: no interpreter, no checkpoint, no adapter."""
    if not os.access(python, os.X_OK) or python.is_dir():
        raise UsageError(f"{python} is not a Python interpreter", "--server-python")
    _readable_json(checkpoint / "config.json", "checkpoint", "the model folder, or build it again")
    for name in spec.adapters:
        if name not in adapters:
            raise UsageError(f"no folder for adapter '{name}'", f"named: {sorted(adapters)}")
        _readable_json(
            adapters[name] / "adapter_config.json",
            f"adapter '{name}'",
            "the adapter's path: a PEFT folder has adapter_config.json and its weights",
        )


def _readable_json(path: Path, what: str, check: str) -> None:
    if not path.parent.is_dir():
        raise UsageError(f"{what}: there is no folder {path.parent}", check)
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{what}: {path.parent} has no {path.name}", check) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{what}: {path} cannot be read: {error}", check) from error
