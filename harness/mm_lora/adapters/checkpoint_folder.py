"""Checks a model folder that the user named, without torch: is every file there and whole?"""

from collections.abc import Sequence
from pathlib import Path

from mm_lora.adapters.tensors import shapes
from mm_lora.core.errors import UsageError
from mm_lora.core.weight_index import INDEX, indexed_files

_CHECK = "that the download finished, or copy the folder again"


def check_folder(folder: Path) -> None:
    """Raises UsageError naming the first file that is missing or cut off."""
    if not (folder / "config.json").is_file():
        raise UsageError(f"the model folder {folder} has no config.json", _CHECK)
    for name in _weight_files(folder):
        if not (folder / name).is_file():
            raise UsageError(
                f"the model folder {folder} has no {name}, which {INDEX} names", _CHECK
            )
        shapes(folder / name)
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        raise UsageError(f"the model folder {folder} has no tokenizer.json", _CHECK)
    processors = ("preprocessor_config.json", "processor_config.json")
    if not any((folder / name).is_file() for name in processors):
        raise UsageError(f"the model folder {folder} has no preprocessor_config.json", _CHECK)


def weight_shapes(folder: Path) -> dict[str, Sequence[int]]:
    """Tensor name → shape, of all safetensors files of a model folder that `check_folder` passed.

    Empty for a folder with weights of another format.
    """
    files = (shapes(folder / name) for name in _weight_files(folder))
    return {key: shape for file in files for key, shape in file.items()}


def _weight_files(folder: Path) -> list[str]:
    try:
        named = indexed_files(folder)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / INDEX} cannot be read: {error!r}", _CHECK) from None
    return sorted(file.name for file in folder.glob("*.safetensors")) if named is None else named
