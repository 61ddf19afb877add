"""LLaVA-NeXT-Video: the frames of a video, each pooled to a quarter of its patches."""
