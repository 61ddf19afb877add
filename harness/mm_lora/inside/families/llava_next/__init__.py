"""LLaVA-NeXT's own patches."""

from . import hooks

PATCHES = hooks.PATCHES
