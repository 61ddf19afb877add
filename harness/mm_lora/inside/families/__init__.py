"""Patches of one architecture each; every module here has its `PATCHES`, some a `PREPARE`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from ..registry import Patch

_MODULES = [
    importlib.import_module(f"{__name__}.{found.name}")
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name)
]

PATCHES: tuple[Patch, ...] = tuple(patch for module in _MODULES for patch in module.PATCHES)

PREPARE: Mapping[str, Callable[[Any], Mapping[str, Any]]] = {
    name: prepared
    for module in _MODULES
    for name, prepared in getattr(module, "PREPARE", {}).items()
}
"""Class of a model → attributes that its count hook reads, from the config."""
