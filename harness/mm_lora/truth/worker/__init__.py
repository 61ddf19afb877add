"""The worker: a process of its own for all that needs torch."""
