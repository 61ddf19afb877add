"""What runs inside vLLM for the classes whose vision side is Qwen's."""

from . import mutants, tower_qkv

PATCHES = (tower_qkv.PATCH, *mutants.PATCHES)
