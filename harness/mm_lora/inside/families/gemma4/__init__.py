"""Gemma 4's own patches."""

from . import hooks

PATCHES = hooks.PATCHES
