"""Patches of one architecture each."""
