"""LLaVA's own patches."""

from . import hooks

PATCHES = hooks.PATCHES
