"""Finds the torch side of a family by its module's name, as a job says it."""

import importlib

from mm_lora.families.torch_side import TorchSide


def side_of(module: str) -> TorchSide:
    """The family's `SIDE`."""
    found: TorchSide = importlib.import_module(module).SIDE
    return found
