"""Worker job: the modules of transformers' model that an adapter could target, without weights."""

from collections.abc import Mapping
from typing import Any

from mm_lora.truth.worker.sides import side_of


def run(*, side: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Answers {"modules": [{"path", "class", "saved", "shape"}]}: every nn.Linear of the layers
    that run, and what else vLLM can wrap. `saved`: its path in adapters, `shape`: of its weight,
    empty where it has none of its own."""
    family = side_of(side)
    model = family.without_idle(family.meta_model(config))
    import torch

    return {
        "modules": [
            {
                "path": path,
                "class": type(module).__name__,
                "saved": family.saved_names(f"{path}.weight").removesuffix(".weight"),
                "shape": list(module.weight.shape) if hasattr(module, "weight") else [],
            }
            for path, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) or type(module).__name__ in family.other_modules
        ]
    }
