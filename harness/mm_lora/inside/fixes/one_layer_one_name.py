"""Fix: registers a LoRA layer that has two names under the first, so that it is not cleared."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def register_module(self: Any, module_name: str, module: Any) -> Any:
        if any(known is module for known in self.modules.values()):
            return None
        return original(self, module_name, module)

    return register_module


PATCH = Patch(
    id="one-layer-one-name",
    kind="fix",
    versions="<0.20",
    wraps={"vllm.lora.model_manager:LoRAModelManager.register_module": _wrapped},
    reason="an MoE layer holds its shared expert as shared_expert and experts._shared_experts; the "
    "LoRA layers get both names, and under the second, which no adapter has, they are reset",
    upstream=("https://github.com/vllm-project/vllm/pull/31105",),
)
