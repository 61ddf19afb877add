"""Starts, watches and stops a real vLLM server in a process group of its own."""
