"""Compat: lets a CPU server with LoRA use the CPU's expert kernels instead of Triton-only ones."""

import copy
from types import ModuleType
from typing import Any

from .hooks import HookGone, replace
from .registry import Patch


def _apply(module: ModuleType) -> None:
    config = getattr(module, "FusedMoEConfig", None)
    if "is_lora_enabled" not in getattr(config, "__dataclass_fields__", ()):
        raise HookGone(f"{module.__name__}:FusedMoEConfig.is_lora_enabled")

    def make(original: Any) -> Any:
        def select_unquantized_moe_backend(moe_config: Any, *args: Any, **kwargs: Any) -> Any:
            without_lora = copy.copy(moe_config)
            without_lora.is_lora_enabled = False
            return original(without_lora, *args, **kwargs)

        return select_unquantized_moe_backend

    replace(module, "select_unquantized_moe_backend", make)


PATCH = Patch(
    id="cpu-moe-experts",
    kind="compat",
    platform="cpu",
    versions=">=0.20",
    modules=("vllm.model_executor.layers.fused_moe.oracle.unquantized",),
    apply=_apply,
    reason="with LoRA on, unquantised MoE layers pick Triton experts, which no CPU has; the "
    "experts then take no adapter and must stay out of --lora-target-modules",
    upstream=("https://github.com/vllm-project/vllm/pull/40273",),
)
