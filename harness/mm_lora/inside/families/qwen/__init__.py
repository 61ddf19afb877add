"""What runs inside vLLM for Qwen2-VL and Qwen2.5-VL."""

from . import mutants

PATCHES = mutants.PATCHES
