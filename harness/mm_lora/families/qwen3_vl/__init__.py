"""Qwen3-VL: a Qwen tower with features of inner layers (deepstack)."""
