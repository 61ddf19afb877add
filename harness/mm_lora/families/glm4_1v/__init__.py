"""GLM-4.1V: a Qwen-like tower that a convolution merges, before a merger of four layers."""
