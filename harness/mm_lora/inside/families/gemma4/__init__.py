"""Gemma 4's own patches, and what its prefixes depend on."""

from . import frames, hooks, shared_keys, sounds

PATCHES = (*hooks.PATCHES, *frames.PATCHES, *shared_keys.PATCHES, *sounds.PATCHES)

PREPARE = {
    # Whether there is one is all that the class asks.
    "Gemma4ForConditionalGeneration": lambda config: {"audio_tower": config.audio_config},
}
