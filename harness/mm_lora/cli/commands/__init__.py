"""The commands: each parses nothing, does one thing and returns an exit code."""
