"""Qwen3-VL with routed experts in the language model."""
