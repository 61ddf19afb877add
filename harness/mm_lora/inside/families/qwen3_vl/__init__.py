"""Qwen3-VL's own patches."""

from . import mutants

PATCHES = mutants.PATCHES
