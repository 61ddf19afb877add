"""Qwen3-ASR's own patches."""

from . import encoder, mutants

PATCHES = (*encoder.PATCHES, *mutants.PATCHES)
