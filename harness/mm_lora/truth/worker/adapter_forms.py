"""Writes an adapter's tensors in one of the forms of `adapters.FORMS`; each says what it keeps."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from mm_lora.adapters.spellings import SPELLINGS
from mm_lora.families.family import Family

Tensors = Mapping[str, torch.Tensor]


def write(folder: Path, tensors: Tensors, form: str, family: Family) -> list[Path]:
    """Write `tensors` (PEFT key → [rank, in] for A, [out, rank] for B); returns the files.

    `folder` holds PEFT's adapter_config.json, which "padded" changes.
    """
    if form == "sharded":
        return _sharded(folder, tensors)
    if form == "padded":
        _double_rank(folder / "adapter_config.json")
        tensors = {key: _padded(key, tensor) for key, tensor in tensors.items()}
    elif form == "permuted":
        tensors = {key: t.flip(_rank_axis(key)).contiguous() for key, t in tensors.items()}
    elif spelling := SPELLINGS.get(form):
        tensors = {spelling.respelled(family, key): tensor for key, tensor in tensors.items()}
    return [_save(folder / "adapter_model.safetensors", tensors)]


def _rank_axis(key: str) -> int:
    return 0 if ".lora_A." in key else 1


def _padded(key: str, tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat([tensor, torch.zeros_like(tensor)], dim=_rank_axis(key))


def _double_rank(file: Path) -> None:
    """Twice the rank and twice alpha: alpha / rank, which scales B·A, stays."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config["r"] *= 2
    config["lora_alpha"] *= 2
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _sharded(folder: Path, tensors: Tensors) -> list[Path]:
    keys = sorted(tensors)
    middle = len(keys) // 2
    files: list[Path] = []
    weight_map: dict[str, str] = {}
    for number, part in enumerate((keys[:middle], keys[middle:]), 1):
        name = f"adapter_model-{number:05}-of-00002.safetensors"
        files.append(_save(folder / name, {key: tensors[key] for key in part}))
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {}, "weight_map": dict(sorted(weight_map.items()))}
    Path(folder, "adapter_model.safetensors.index.json").write_text(
        json.dumps(index, indent=2) + "\n", encoding="utf-8"
    )
    return files


def _save(file: Path, tensors: Tensors) -> Path:
    from safetensors.torch import save_file

    save_file(dict(tensors), file, metadata={"format": "pt"})
    file.chmod(0o644)  # newer safetensors write it for the owner alone
    return file
