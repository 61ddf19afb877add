"""Reads and writes an adapter folder byte by byte: tensors and config, without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Tensor:
    """One tensor as safetensors keeps it: `dtype` as there ("F32", …), row-major little endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


def read(folder: Path) -> dict[str, Tensor]:
    """Every tensor of the folder by its PEFT key.

    The file is 8 bytes of length (little endian), a JSON header of that length, then the data.
    """
    raw = (folder / WEIGHTS).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    header: dict[str, Any] = json.loads(raw[8 : 8 + size])
    header.pop("__metadata__", None)
    data = raw[8 + size :]
    return {
        key: Tensor(entry["dtype"], tuple(entry["shape"]), data[slice(*entry["data_offsets"])])
        for key, entry in header.items()
    }


def write(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace the folder's tensors."""
    header: dict[str, Any] = {}
    data = b""
    for key, tensor in tensors.items():
        offsets = [len(data), len(data) + len(tensor.data)]
        header[key] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": offsets}
        data += tensor.data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + data)


def read_config(folder: Path) -> dict[str, Any]:
    """What adapter_config.json says."""
    config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    return config


def configure(folder: Path, **changes: Any) -> None:
    """Change keys of adapter_config.json; None stays, as JSON's null."""
    text = json.dumps({**read_config(folder), **changes}, indent=2)
    (folder / CONFIG).write_text(text, encoding="utf-8")
