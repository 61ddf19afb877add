"""GLM-4.1V's own patches."""

from . import patches

PATCHES = patches.PATCHES
