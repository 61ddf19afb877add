"""InternVL's own patches, and what its count hook reads of a finished model."""

from . import patches

PATCHES = patches.PATCHES
PREPARE = {"InternVLChatModel": patches.prepared}
