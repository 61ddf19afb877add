"""Patches for SmolVLM and Idefics3."""
