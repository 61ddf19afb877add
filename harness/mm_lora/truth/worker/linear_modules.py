"""Worker job: what an adapter could target in transformers' Llama 4, without weights."""

from collections.abc import Mapping
from typing import Any

from mm_lora.truth.worker.checkpoint import meta_model

EXPERTS = "Llama4TextExperts"
"""No Linear: one parameter for all experts. Listed since vLLM has LoRA layers for experts."""


def run(*, config: Mapping[str, Any]) -> dict[str, Any]:
    """Answers {"modules": [{"path", "class"}]}: every nn.Linear, and the experts."""
    import torch

    return {
        "modules": [
            {"path": path, "class": type(module).__name__}
            for path, module in meta_model(config).named_modules()
            if isinstance(module, torch.nn.Linear) or type(module).__name__ == EXPERTS
        ]
    }
