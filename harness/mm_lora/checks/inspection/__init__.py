"""What a vLLM will do with an adapter, told from files and source alone: no server, no torch."""
