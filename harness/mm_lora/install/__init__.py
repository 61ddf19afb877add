"""Makes environments that have a vLLM; standard library only, since it runs before anything is installed."""
