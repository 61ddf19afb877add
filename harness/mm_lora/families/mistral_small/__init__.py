"""Mistral Small 3.1: Pixtral with a layer that merges patches."""
