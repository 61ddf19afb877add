"""Compat: lets a CPU server with LoRA use the CPU's expert kernels instead of Triton-only ones."""

import copy
from typing import Any

from .registry import Patch

_MODULE = "vllm.model_executor.layers.fused_moe.oracle.unquantized"


def _wrapped(original: Any) -> Any:
    def select_unquantized_moe_backend(moe_config: Any, *args: Any, **kwargs: Any) -> Any:
        without_lora = copy.copy(moe_config)
        without_lora.is_lora_enabled = False
        return original(without_lora, *args, **kwargs)

    return select_unquantized_moe_backend


PATCH = Patch(
    id="cpu-moe-experts",
    kind="compat",
    platform="cpu",
    versions=">=0.20",
    needs=(f"{_MODULE}:FusedMoEConfig.is_lora_enabled",),
    wraps={f"{_MODULE}:select_unquantized_moe_backend": _wrapped},
    reason="with LoRA on, unquantised MoE layers pick Triton experts, which no CPU has; the "
    "experts then take no adapter and must stay out of --lora-target-modules",
    upstream=("https://github.com/vllm-project/vllm/pull/40273",),
)
