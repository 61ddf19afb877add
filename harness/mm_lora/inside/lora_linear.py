"""vLLM's own layer in the place of a Linear of torch, for which vLLM has no LoRA layer."""

import importlib
from typing import Any

_MODULE, _NAME = "vllm.model_executor.layers.linear", "ReplicatedLinear"
NEEDS = f"{_MODULE}:{_NAME}"
"""For a patch's `needs`."""


def replicated(plain: Any) -> Any:
    """A layer of the same size and dtype, without weights yet; it returns its output alone."""
    # By name: the harness reads the catalogue too, and has no torch.
    linear = getattr(importlib.import_module(_MODULE), _NAME)
    return linear(
        plain.in_features,
        plain.out_features,
        bias=plain.bias is not None,
        params_dtype=plain.weight.dtype,
        return_bias=False,
    )
