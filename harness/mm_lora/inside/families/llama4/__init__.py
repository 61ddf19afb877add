"""Patches and questions that name Llama 4."""
