"""Reads and writes the two files of an adapter's folder: its tensors and its config."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.adapters import tensors
from mm_lora.adapters.tensors import Tensor

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its PEFT key. Raises UsageError for a damaged file."""
    return tensors.shapes(folder / WEIGHTS)


def read(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder by its PEFT key. Raises UsageError for a damaged file."""
    return tensors.read(folder / WEIGHTS)


def write(folder: Path, content: Mapping[str, Tensor]) -> None:
    """Replace the folder's tensors."""
    tensors.write(folder / WEIGHTS, content)


def read_config(folder: Path) -> dict[str, Any]:
    """What adapter_config.json says."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def configure(folder: Path, **changes: Any) -> None:
    """Change keys of adapter_config.json; None stays, as JSON's null."""
    text = json.dumps({**read_config(folder), **changes}, indent=2)
    (folder / CONFIG).write_text(text, encoding="utf-8")


def copy(folder: Path, target: Path) -> Path:
    """A copy of an adapter's folder that may be changed, whatever the original allows."""
    shutil.copytree(folder, target)
    for file in target.iterdir():
        file.chmod(0o644)
    return target
