"""Gemma 4's small models, as they hear."""
