"""LLaVA with a SigLIP tower."""
