"""LLaVA with a Pixtral tower: Pixtral in the layout of transformers."""
