"""Puts an adapter's B·A into a model's weights, right or with a known mistake, and takes it out.

Written from LoRA's definition, W + scale · B·A with scale = alpha / r (alpha / √r for rsLoRA), not
taken from PEFT, whose unloading does not restore a base exactly.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mm_lora.adapters.keys import key_of, parted
from mm_lora.adapters.scale import scale_of
from mm_lora.families.torch_side import TorchSide


def deltas(folder: Path) -> dict[str, Any]:
    """scale · B·A of every module of a PEFT folder, by module path. Shapes [out, in]."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    deltas = {}
    for key, a in tensors.items():
        path, side = parted(key)
        if side != "lora_A":
            continue
        b = tensors[key_of(path, "lora_B")]
        deltas[path] = scale_of(config, path) * (b.double() @ a.double())
    return deltas


def pattern_error(folder: Path, paths: Iterable[str]) -> dict[str, float]:
    """By module path: its scale by the adapter's own r and lora_alpha, over its true scale."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    plain = {**config, "rank_pattern": {}, "alpha_pattern": {}}
    return {path: scale_of(plain, path) / scale_of(config, path) for path in paths}


def merge(side: TorchSide, model: Any, deltas: Mapping[str, Any]) -> dict[str, Any]:
    """Add each delta to its module's weight; returns copies of the weights as they were."""
    import torch

    originals = {}
    with torch.no_grad():
        for path, delta in deltas.items():
            weight = side.weight(model, path)
            originals[path] = weight.detach().clone()
            weight.copy_((weight.double() + delta).to(weight.dtype))
    return originals


def restore(side: TorchSide, model: Any, originals: Mapping[str, Any]) -> None:
    """Put the copies back."""
    import torch

    with torch.no_grad():
        for path, weight in originals.items():
            side.weight(model, path).copy_(weight)
