"""Mutants: seeded mistakes in accepting and refusing adapters: only in name, or applied wrong."""

import importlib
from functools import partial
from typing import Any

from ..registry import mutant
from .life import ONE_LIFE

_SERVING = "vllm.entrypoints.openai.models.serving"
_WORKER = "vllm.lora.worker_manager"
_PEFT = "vllm.lora.peft_helper"


def call_the_refused_base(original: Any) -> Any:
    """An adapter that is refused is said to be loaded, and its users get the base model."""

    async def load_lora_adapter(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, request, *args, **kwargs)
        if isinstance(result, str) or not request.lora_name:
            return result
        first = self.base_model_paths[0]
        self.base_model_paths.append(type(first)(request.lora_name, first.model_path))
        return f"Success: LoRA adapter '{request.lora_name}' added successfully."

    return load_lora_adapter


def load_the_refused_empty(original: Any) -> Any:
    """An adapter that the engine cannot load is loaded without any module."""

    def add_adapter(self: Any, lora_request: Any) -> bool:
        try:
            return bool(original(self, lora_request))
        except Exception:
            number = lora_request.lora_int_id
            empty = importlib.import_module("vllm.lora.lora_model").LoRAModel(number, 1, {})
            manager = self._adapter_manager
            manager.remove_adapter(number)
            manager._registered_adapters[number] = empty  # past what add_adapter looks at
            return bool(manager.activate_adapter(number))

    return add_adapter


def weaken_transposed(original: Any) -> Any:
    """fan_in_fan_out, which says nothing of the adapter's own tensors, changes their scale."""

    def from_dict(cls: Any, config_dict: dict[str, Any]) -> Any:
        if config_dict.get("fan_in_fan_out"):
            config_dict = {**config_dict, "lora_alpha": config_dict["lora_alpha"] / 2}
        return original(cls, config_dict)

    return from_dict


def resolve_as_the_first(original: Any) -> Any:
    """An adapter that a resolver found answers with the weights of the one loaded first."""

    async def resolve_lora(self: Any, lora_name: str) -> Any:
        first = min(self.lora_requests.values(), key=lambda one: one.lora_int_id)
        known = lora_name in self.lora_requests
        found = await original(self, lora_name)
        if not known and lora_name in self.lora_requests:
            found.lora_int_id = first.lora_int_id
        return found

    return resolve_lora


_mutant = partial(mutant, versions=">=0.28")

PATCHES = (
    _mutant(
        "refused-is-base",
        {f"{_SERVING}:OpenAIServingModels.load_lora_adapter": call_the_refused_base},
        "the refused answers as the base",
        kills=("refusal/*/name-of-the-base",),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "refused-is-empty",
        {f"{_WORKER}:LRUCacheWorkerLoRAManager.add_adapter": load_the_refused_empty},
        "what cannot be loaded is empty",
        kills=(
            "refusal/*/no-such-folder",
            "refusal/*/no-config",
        ),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "fan-in-scales",
        {f"{_PEFT}:PEFTHelper.from_dict": weaken_transposed},
        "fan_in_fan_out halves the adapter",
        kills=("refusal/*/fan-in-fan-out",),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "resolved-as-first",
        {f"{_SERVING}:OpenAIServingModels.resolve_lora": resolve_as_the_first},
        "what is resolved is another one",
        kills=("refusal/*/resolver/inside",),
        survives={"relations": ONE_LIFE},
    ),
)
