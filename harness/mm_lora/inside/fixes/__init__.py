"""Patches that mend known defects, each the proof of a cause."""
