"""Patches of one architecture each; every package here has its `PATCHES`."""

import importlib
import pkgutil

from ..registry import Patch

PATCHES: tuple[Patch, ...] = tuple(
    patch
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name)
    for patch in importlib.import_module(f"{__name__}.{found.name}").PATCHES
)
