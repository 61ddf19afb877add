"""What runs inside vLLM for Qwen3-VL alone."""
