"""Checks a model folder that the user named, without torch: is every file there and whole?"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError

INDEX = "model.safetensors.index.json"
_CHECK = "that the download ended, or copy the folder again"


def check_folder(folder: Path) -> None:
    """Raises UsageError naming the first file that is missing or cut off."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"the model folder {folder} has no config.json", _CHECK)
    for name in _weight_files(folder):
        if not (folder / name).is_file():
            raise UsageError(
                f"the model folder {folder} has no {name}, which {INDEX} names", _CHECK
            )
        check_safetensors(folder / name)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise UsageError(f"the model folder {folder} has no tokenizer.json", _CHECK)
    processors = ("preprocessor_config.json", "processor_config.json")
    if not any((folder / name).is_file() for name in processors):
        raise UsageError(f"the model folder {folder} has no preprocessor_config.json", _CHECK)


def weight_shapes(folder: Path) -> dict[str, Sequence[int]]:
    """Tensor name → shape, of all safetensors files of a model folder that `check_folder` passed.

    Empty for a folder with weights of another format.
    """
    shapes: dict[str, Sequence[int]] = {}
    for name in _weight_files(folder):
        for key, tensor in check_safetensors(folder / name).items():
            shapes[key] = tensor["shape"]
    return shapes


def check_safetensors(file: Path) -> Mapping[str, Any]:
    """The header of a safetensors file whose size fits to it: tensor name → dtype, shape, offsets.

    The format: 8 bytes little-endian length, that many bytes of JSON, then the tensors.
    Raises UsageError for a file that is cut off or is none.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(length) if 0 < length <= size - 8 else b""
    try:
        tensors = {k: v for k, v in json.loads(header).items() if k != "__metadata__"}
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise UsageError(f"{file} is no safetensors file, or its head is cut off", _CHECK) from None
    if size != 8 + length + end:
        raise UsageError(f"{file} has {size} bytes; its head says {8 + length + end}", _CHECK)
    return tensors


def _weight_files(folder: Path) -> list[str]:
    if (folder / INDEX).is_file():
        return _shards(folder / INDEX)
    return sorted(file.name for file in folder.glob("*.safetensors"))


def _shards(index: Path) -> list[str]:
    """The files that an index names."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{index} cannot be read: {error!r}", _CHECK) from None
