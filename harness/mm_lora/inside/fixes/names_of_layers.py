"""Fix: vLLM looks for LoRA layers among layers, not among all modules whose name ends alike."""

import importlib
from typing import Any

from ..registry import Patch


def _layers_alone(original: Any) -> Any:
    def _match_target_modules(self: Any, module_name: str) -> bool:
        return original(self, module_name) and isinstance(
            self.model.get_submodule(module_name), _kinds()
        )

    return _match_target_modules


def _kinds() -> tuple[type, ...]:
    """The classes that vLLM 0.32.0 looks among (lora/utils.py::is_supported_lora_module)."""
    # By name: the harness reads the catalogue too, and has no vLLM.
    layers = importlib.import_module("vllm.model_executor.layers.linear")
    words = importlib.import_module("vllm.model_executor.layers.vocab_parallel_embedding")
    experts = importlib.import_module("vllm.model_executor.layers.fused_moe")
    lora = importlib.import_module("vllm.lora.layers")
    found = [layers.LinearBase, words.VocabParallelEmbedding, lora.BaseLayerWithLoRA]
    return (*found, experts.MoERunner)


PATCH = Patch(
    id="names-of-layers-alone",
    kind="fix",
    versions=">=0.28,<0.32",
    wraps={"vllm.lora.model_manager:LoRAModelManager._match_target_modules": _layers_alone},
    reason="model_manager.py::_create_lora_modules looks at the last part of a module's name: a "
    "layer of the sequence `mlp.0` makes it look at block 0, and warn that it ignores it",
)
