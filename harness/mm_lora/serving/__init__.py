"""Own, find and talk to a vLLM server."""
