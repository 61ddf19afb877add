"""Seeded defects, to see checks fail."""
