"""Makers of fixes: an entry of `packed_modules_mapping` that a model's class forgot.

vLLM chooses a LoRA layer by it: without the entry, a fused projection has none (lora/utils.py,
`from_layer`). Such a layer ends a server that names it in --lora-target-modules, and stays without
adapters, with a warning in the log, in one that names none. An entry holds for a name wherever it
is: a model whose parts are stored differently needs more than one.
"""

import importlib
from typing import Any

from .registry import Make

_MANAGER = "vllm.lora.model_manager:LoRAModelManager"
MATCH = f"{_MANAGER}._match_target_modules"
CREATE = f"{_MANAGER}._create_lora_modules"
_UTILS = "vllm.lora.utils"
NEEDED = (f"{_UTILS}:from_layer", f"{_UTILS}:replace_submodule")
"""What `in_parts` uses beside."""


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


def in_parts(name: str, parts: tuple[str, ...], *, below: str, model: str) -> Make:
    """For CREATE: below the prefix `below`, the layer `name` of the class `model` is so many
    modules on disk; elsewhere it is as the class says."""

    def make(original: Any) -> Any:
        def _create_lora_modules(self: Any) -> None:
            original(self)
            if type(self.model).__name__ != model:
                return
            # By name: the harness reads the catalogue too, and has no torch.
            utils = importlib.import_module(_UTILS)
            for path, layer in list(self.modules.items()):
                parent, _, last = path.rpartition(".")
                if last != name or not path.startswith(below):
                    continue
                fitting = utils.from_layer(
                    layer.base_layer,
                    self.lora_slots,
                    self.lora_config,
                    list(parts),
                    self.model.config,
                )
                self.register_module(path, utils.replace_submodule(self.model, path, fitting))
                self.packed_modules[path] = [f"{parent}.{part}" for part in parts]
                fitting.set_mapping(self._get_punica_wrapper(path))
            self.supported_lora_modules.extend(parts)

        return _create_lora_modules

    return make
