"""Makes environments that have a vLLM; standard library only: it runs before all else is there."""
