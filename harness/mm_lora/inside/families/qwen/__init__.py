"""What runs inside vLLM for the classes whose vision side is Qwen's."""

from . import mutants, tower_qkv, video_times

PATCHES = (tower_qkv.PATCH, video_times.PATCH, *mutants.PATCHES)
