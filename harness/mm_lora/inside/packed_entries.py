"""Makers of fixes: an entry of `packed_modules_mapping` that a model's class forgot.

vLLM chooses a LoRA layer by it: without the entry, a fused projection has none (lora/utils.py,
`from_layer`). Such a layer ends a server that names it in --lora-target-modules, and stays without
adapters, with a warning in the log, in one that names none.
"""

from typing import Any

from .registry import Make

MATCH = "vllm.lora.model_manager:LoRAModelManager._match_target_modules"


def with_entry(name: str) -> Make:
    """For a model's `__init__`: the fused projection `name` is one module on disk too."""

    def make(original: Any) -> Any:
        # With the names by which vLLM tells a model of its own kind (model_loader/utils.py).
        def init(self: Any, *, vllm_config: Any, prefix: str = "") -> None:
            original(self, vllm_config=vllm_config, prefix=prefix)
            self.packed_modules_mapping = {**self.packed_modules_mapping, name: [name]}

        return init

    return make


def chosen(name: str, below: str, model: str) -> Make:
    """For MATCH: the class `model` wraps `name` below the prefix `below`, whatever was named.

    A CPU's server must name modules, and cannot name this one while the entry is missing.
    """

    def make(original: Any) -> Any:
        def _match_target_modules(self: Any, module_name: str) -> Any:
            return original(self, module_name) or (
                type(self.model).__name__ == model
                and module_name.startswith(below)
                and module_name.rpartition(".")[2] == name
            )

        return _match_target_modules

    return make
