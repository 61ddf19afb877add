"""InternVL, in the layout of its published checkpoints."""
