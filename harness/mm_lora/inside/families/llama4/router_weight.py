"""Compat: lets the CPU's experts of vLLM 0.16 take Llama 4's router weight, on their input."""

import inspect
from typing import Any

from ...registry import Patch


def _wrapped(original: Any) -> Any:
    signature = inspect.signature(original)

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs)
        asked = bound.arguments.pop("apply_router_weight_on_input", False)
        if not asked or bound.arguments["top_k"] != 1:
            return original(self, *args, **kwargs)
        experts = self.forward_method

        def weighted(layer: Any, x: Any, weights: Any, ids: Any, *rest: Any) -> Any:
            # As 0.17 does: the weight goes onto the input, and none onto what comes out.
            return experts(
                layer, x * weights.to(x.dtype), weights.new_ones(weights.shape), ids, *rest
            )

        self.forward_method = weighted
        try:
            return original(*bound.args, **bound.kwargs)
        finally:
            self.forward_method = experts

    return call


PATCH = Patch(
    id="cpu-router-weight-on-input",
    kind="compat",
    platform="cpu",
    versions="<0.17",
    wraps={"vllm.model_executor.layers.fused_moe.cpu_fused_moe:CPUFusedMOE.__call__": _wrapped},
    reason="the CPU's experts assert that the router weight is not applied on their input, as "
    "Llama 4 wants it (cpu_fused_moe.py, CPUFusedMOE.__call__)",
)
