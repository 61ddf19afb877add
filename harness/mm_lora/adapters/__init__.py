"""Synthetic and users' adapters as specs and files; no torch."""
