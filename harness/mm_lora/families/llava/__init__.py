"""LLaVA with a CLIP tower, and what the LLaVA families have in common."""
