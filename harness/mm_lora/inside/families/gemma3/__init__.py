"""Gemma 3's own patches."""

from . import hooks

PATCHES = hooks.PATCHES
