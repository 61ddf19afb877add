"""mm-lora: proof that a vLLM applies LoRA adapters to the right rows of a multimodal model."""

__version__ = "0.1.0"
