"""LLaVA-NeXT: a picture cut into tiles, its border of padding taken away again."""
