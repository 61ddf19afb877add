"""Judges the adapters of somebody's running server from outside, by a few short answers."""
