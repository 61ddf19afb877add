"""SmolVLM's own patches."""

from . import mutants

PATCHES = mutants.PATCHES
