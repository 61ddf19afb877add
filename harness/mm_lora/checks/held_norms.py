"""Whether each layer holds an adapter at full strength: A as in the file, B times alpha / rank.

An absolute truth that needs no reference and no precision: a wrong scale moves every layer's sum
of squares, whatever the model. What a kernel does with the tensors afterwards it does not see.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from mm_lora.adapters import files
from mm_lora.adapters.keys import parted
from mm_lora.adapters.scale import scale_of
from mm_lora.serving.probe_records import AdapterUse

ALLOWED = 0.01
"""Relative, of a norm: rounding to 16 bits moves one by about 1e-3."""

Norms = Mapping[tuple[str, str], float]
"""(adapter module path, lora_A or lora_B) → Frobenius norm, the scale in B."""


def file_norms(folder: Path, to_vllm: Callable[[str], str] = str) -> dict[tuple[str, str], float]:
    """What the layers must hold, from a PEFT folder with one safetensors file.

    `to_vllm`: PEFT module path → vLLM's name of it.
    """
    config = files.read_config(folder)
    norms = {}
    for key, tensor in files.read(folder).items():
        path, side = parted(key)
        if not side:
            continue
        norm = float(np.linalg.norm(tensor.values().astype(np.float64)))
        norms[to_vllm(path), side] = norm * (scale_of(config, path) if side == "lora_B" else 1.0)
    return norms


def mismatches(expected: Norms, uses: Sequence[AdapterUse]) -> list[str]:
    """What differs by more than ALLOWED; `uses`: one adapter's activation on every rank.

    A layer's ranks hold parts of a tensor, or each of them all of it.
    """
    squares: dict[tuple[str, str], list[float]] = {}
    for use in uses:
        for layer, parts in use.used.items():
            slices = use.held.get(layer, ())
            # One tensor for all slices of a layer: each has all of A and its own rows of B.
            named = parts * len(slices) if len(parts) == 1 else parts
            for part, (a, b) in zip(named, slices, strict=False):
                if part is not None:
                    squares.setdefault((part, "lora_A"), []).append(a)
                    squares.setdefault((part, "lora_B"), []).append(b)
    found = []
    for name, norm in expected.items():
        held = squares.get(name, [])
        whole = math.sqrt(sum(held))
        each = max((abs(math.sqrt(value) - norm) for value in held), default=math.inf)
        if min(abs(whole - norm), each) > ALLOWED * norm:
            shown = ", ".join(f"{math.sqrt(value):.4g}" for value in held) or "nothing"
            found.append(f"{name[0]} {name[1]}: norm {norm:.4g} in the file, held {shown}")
    return found
