"""Mutants: seeded mistakes in loading, unloading and replacing adapters."""

from functools import partial
from types import ModuleType
from typing import Any

from ..hooks import replace
from ..registry import mutant

_SERVING = "vllm.entrypoints.openai.models.serving"
_WORKER = "vllm.lora.worker_manager"
_LAYER = "vllm.lora.layers.base_linear"
_MANAGER = "vllm.lora.model_manager"
_kept: list[Any] = []


def keep_old_weights(module: ModuleType) -> None:
    """A name that was loaded before keeps the weights that it had then."""

    def make(original: Any) -> Any:
        known: dict[str, Any] = {}

        def _load_adapter(self: Any, lora_request: Any) -> Any:
            name = lora_request.lora_name
            path = known.setdefault(name, lora_request.lora_path)
            return original(self, type(lora_request)(name, lora_request.lora_int_id, path))

        return _load_adapter

    replace(module, "WorkerLoRAManager._load_adapter", make)


def leave_slot_as_it_was(module: ModuleType) -> None:
    """Modules that the new adapter of a slot does not have keep the old one's weights."""

    def make(original: Any) -> Any:
        def reset_lora(self: Any, index: int) -> None:
            return None

        return reset_lora

    replace(module, "BaseLinearLayerWithLoRA.reset_lora", make)


def forget_nothing(module: ModuleType) -> None:
    """Every adapter that was ever loaded stays in memory."""

    def make(original: Any) -> Any:
        def _load_adapter(self: Any, lora_request: Any) -> Any:
            loaded = original(self, lora_request)
            _kept.append((loaded, {k: w.lora_a.clone() for k, w in loaded.loras.items()}))
            return loaded

        return _load_adapter

    replace(module, "WorkerLoRAManager._load_adapter", make)


def unload_in_name_only(module: ModuleType) -> None:
    """An unloaded adapter still answers."""

    def make(original: Any) -> Any:
        async def unload_lora_adapter(self: Any, request: Any) -> Any:
            before = dict(self.lora_requests)
            result = await original(self, request)
            self.lora_requests.update(before)
            return result

        return unload_lora_adapter

    replace(module, "OpenAIServingModels.unload_lora_adapter", make)


def wipe_what_is_unloaded(module: ModuleType) -> None:
    """Unloading takes the weights away at once, also from answers that are being made."""

    def in_the_api(original: Any) -> Any:
        async def unload_lora_adapter(self: Any, request: Any) -> Any:
            known = self.lora_requests.get(request.lora_name)
            result = await original(self, request)
            if known is not None and request.lora_name not in self.lora_requests:
                await self.engine_client.engine_core.remove_lora_async(known.lora_int_id)
            return result

        return unload_lora_adapter

    def in_the_worker(original: Any) -> Any:
        def remove_adapter(self: Any, adapter_id: int) -> bool:
            adapter = self._adapter_manager.get_adapter(adapter_id)
            if adapter is not None:
                _wipe(adapter)
                self._adapter_manager.deactivate_adapter(adapter_id)
            return adapter is not None

        return remove_adapter

    if module.__name__ == _SERVING:
        replace(module, "OpenAIServingModels.unload_lora_adapter", in_the_api)
    else:
        replace(module, "WorkerLoRAManager.remove_adapter", in_the_worker)


def write_each_slot_once(module: ModuleType) -> None:
    """An adapter that was in a slot before gets one again without its weights."""

    def make(original: Any) -> Any:
        def activate_adapter(self: Any, lora_id: int) -> bool:
            before = self.__dict__.setdefault("mm_lora_active_before", set())
            modules = self.modules
            if lora_id in before:
                self.modules = {}
            try:
                activated: bool = original(self, lora_id)
            finally:
                self.modules = modules
            before.add(lora_id)
            return activated

        return activate_adapter

    replace(module, "LoRAModelManager.activate_adapter", make)


def _wipe(adapter: Any) -> None:
    for weights in adapter.loras.values():
        parts = weights.lora_b
        for part in parts if isinstance(parts, list) else [parts]:
            if part is not None:
                part.zero_()


def loading_wipes_the_others(module: ModuleType) -> None:
    """Whatever is loaded, even what is refused, takes the place of the first adapter's weights."""

    def make(original: Any) -> Any:
        def add_adapter(self: Any, lora_request: Any) -> Any:
            try:
                return original(self, lora_request)
            finally:
                first = next(iter(self._adapter_manager.list_adapters().values()), None)
                if first is not None and lora_request.lora_name.startswith(("bad-", "beside-")):
                    _wipe(first)
                    self._adapter_manager.deactivate_adapter(first.id)

        return add_adapter

    replace(module, "LRUCacheWorkerLoRAManager.add_adapter", make)


_mutant = partial(mutant, versions=">=0.28")

PATCHES = (
    _mutant("old-weights", _WORKER, keep_old_weights, "a name keeps the weights it had first"),
    _mutant("slot-not-reset", _LAYER, leave_slot_as_it_was, "a slot keeps what is not written"),
    _mutant("adapters-leak", _WORKER, forget_nothing, "what was loaded is never given back"),
    _mutant("unload-in-name", _SERVING, unload_in_name_only, "what was unloaded still answers"),
    _mutant(
        "unload-at-once",
        (_SERVING, _WORKER),
        wipe_what_is_unloaded,
        "unloading breaks answers off",
    ),
    _mutant("slot-not-written", _MANAGER, write_each_slot_once, "a slot is not written again"),
    _mutant("load-harms", _WORKER, loading_wipes_the_others, "a load wipes another's weights"),
)
