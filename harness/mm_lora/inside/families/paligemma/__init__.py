"""PaliGemma's own patches."""

from . import hooks, prompt_attention

PATCHES = (*hooks.PATCHES, prompt_attention.PATCH)
