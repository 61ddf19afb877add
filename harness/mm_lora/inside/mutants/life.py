"""Mutants: seeded mistakes in loading, unloading and replacing adapters."""

from functools import partial
from typing import Any

from ..registry import mutant

_SERVING = "vllm.entrypoints.openai.models.serving"
_WORKER = "vllm.lora.worker_manager"
_LAYER = "vllm.lora.layers.base_linear"
_MANAGER = "vllm.lora.model_manager"
_kept: list[Any] = []
ONE_LIFE = "no relation loads or unloads an adapter"


def keep_old_weights(original: Any) -> Any:
    """A name that was loaded before keeps the weights that it had then."""

    known: dict[str, Any] = {}

    def _load_adapter(self: Any, lora_request: Any) -> Any:
        name = lora_request.lora_name
        path = known.setdefault(name, lora_request.lora_path)
        return original(self, type(lora_request)(name, lora_request.lora_int_id, path))

    return _load_adapter


def leave_slot_as_it_was(original: Any) -> Any:
    """Modules that the new adapter of a slot does not have keep the old one's weights."""

    def reset_lora(self: Any, index: int) -> None:
        return None

    return reset_lora


def forget_nothing(original: Any) -> Any:
    """Every adapter that was ever loaded stays in memory."""

    def _load_adapter(self: Any, lora_request: Any) -> Any:
        loaded = original(self, lora_request)
        _kept.append((loaded, {k: w.lora_a.clone() for k, w in loaded.loras.items()}))
        return loaded

    return _load_adapter


def unload_in_name_only(original: Any) -> Any:
    """An unloaded adapter still answers."""

    async def unload_lora_adapter(self: Any, request: Any) -> Any:
        before = dict(self.lora_requests)
        result = await original(self, request)
        self.lora_requests.update(before)
        return result

    return unload_lora_adapter


def unload_in_the_engine_too(original: Any) -> Any:
    """Unloading takes the weights away at once, also from answers that are being made."""

    async def unload_lora_adapter(self: Any, request: Any) -> Any:
        known = self.lora_requests.get(request.lora_name)
        result = await original(self, request)
        if known is not None and request.lora_name not in self.lora_requests:
            await self.engine_client.engine_core.remove_lora_async(known.lora_int_id)
        return result

    return unload_lora_adapter


def wipe_what_is_unloaded(original: Any) -> Any:
    """The worker's part of it."""

    def remove_adapter(self: Any, adapter_id: int) -> bool:
        adapter = self._adapter_manager.get_adapter(adapter_id)
        if adapter is not None:
            _wipe(adapter)
            self._adapter_manager.deactivate_adapter(adapter_id)
        return adapter is not None

    return remove_adapter


def write_each_slot_once(original: Any) -> Any:
    """An adapter that was in a slot before gets one again without its weights."""

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


def _wipe(adapter: Any) -> None:
    for weights in adapter.loras.values():
        parts = weights.lora_b
        for part in parts if isinstance(parts, list) else [parts]:
            if part is not None:
                part.zero_()


def loading_wipes_the_others(original: Any) -> Any:
    """Whatever is loaded, even what is refused, takes the place of the first adapter's weights."""

    def add_adapter(self: Any, lora_request: Any) -> Any:
        try:
            return original(self, lora_request)
        finally:
            first = next(iter(self._adapter_manager.list_adapters().values()), None)
            if first is not None and lora_request.lora_name.startswith(("bad-", "beside-")):
                _wipe(first)
                self._adapter_manager.deactivate_adapter(first.id)

    return add_adapter


_mutant = partial(mutant, versions=">=0.28")

PATCHES = (
    _mutant(
        "old-weights",
        {f"{_WORKER}:WorkerLoRAManager._load_adapter": keep_old_weights},
        "a name keeps the weights it had first",
        kills=(
            "lifecycle/*/same-name/language",
            "lifecycle/*/in-place/tower",
            "lifecycle/*/in-place/language",
        ),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "slot-not-reset",
        {f"{_LAYER}:BaseLinearLayerWithLoRA.reset_lora": leave_slot_as_it_was},
        "a slot keeps what is not written",
        kills=("lifecycle/*/evicted/same-slot",),
        needs_restart=True,
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "adapters-leak",
        {f"{_WORKER}:WorkerLoRAManager._load_adapter": forget_nothing},
        "what was loaded is never given back",
        kills=("lifecycle/*/rounds/memory",),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "unload-in-name",
        {f"{_SERVING}:OpenAIServingModels.unload_lora_adapter": unload_in_name_only},
        "what was unloaded still answers",
        kills=("lifecycle/*/unload/gone",),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "unload-at-once",
        {
            f"{_SERVING}:OpenAIServingModels.unload_lora_adapter": unload_in_the_engine_too,
            f"{_WORKER}:WorkerLoRAManager.remove_adapter": wipe_what_is_unloaded,
        },
        "unloading breaks answers off",
        kills=("lifecycle/*/meanwhile/it-is-unloaded",),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "slot-not-written",
        {f"{_MANAGER}:LoRAModelManager.activate_adapter": write_each_slot_once},
        "a slot is not written again",
        kills=("lifecycle/*/evicted/in-turn",),
        survives={"relations": ONE_LIFE},
    ),
    _mutant(
        "load-harms",
        {f"{_WORKER}:LRUCacheWorkerLoRAManager.add_adapter": loading_wipes_the_others},
        "a load wipes another's weights",
        kills=(
            "lifecycle/*/meanwhile/others-come-and-go",
            "refusal/*/rank-above-maximum",
        ),
        needs_restart=True,
        survives={"relations": ONE_LIFE},
    ),
)
