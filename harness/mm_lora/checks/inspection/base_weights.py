"""The size of a base model's own weights, to set an adapter's effect against; one at a time."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mm_lora.adapters.tensors import Head, heads, tensor
from mm_lora.core.weight_index import indexed_files
from mm_lora.families.family import Family

_MOST = 8 << 30
"""Bytes of weights that are read for one adapter: beyond, a group's share is left open."""


class BaseWeights:
    """Of a model's folder with safetensors files, in the names of its checkpoint."""

    def __init__(self, folder: Path, family: Family) -> None:
        names = indexed_files(folder) or [file.name for file in folder.glob("*.safetensors")]
        self._family = family
        self._heads: dict[str, tuple[Path, Head]] = {
            key: (folder / name, head)
            for name in sorted(names)
            for key, head in heads(folder / name).items()
        }
        self._left = _MOST
        self._known: dict[str, float | None] = {}

    def norm(self, paths: Sequence[str]) -> float | None:
        """√Σ‖W‖² (Frobenius) of modules by their PEFT paths; None where one is not known."""
        found = [self._norm(path) for path in paths]
        known = [one for one in found if one is not None]
        return math.hypot(*known) if known and len(known) == len(found) else None

    def _norm(self, path: str) -> float | None:
        if path not in self._known:
            self._known[path] = self._read(path)
        return self._known[path]

    def _read(self, path: str) -> float | None:
        for name in (path, self._family.to_vllm(path)):
            place = self._heads.get(f"{name}.weight")
            if place is None:
                continue
            file, head = place
            self._left -= head.end - head.start
            if self._left < 0:
                return None
            try:
                return float(np.linalg.norm(tensor(file, head).values()))
            except KeyError:
                return None  # quantised
        return None
