"""Fix: a failed load leaves everything as it was, the adapter's old weights included."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def add_adapter(self: Any, lora_request: Any) -> Any:
        manager, number = self._adapter_manager, lora_request.lora_int_id
        before = manager.list_adapters().get(number)
        try:
            return original(self, lora_request)
        except Exception:
            if manager.list_adapters().get(number) is not before:
                manager.remove_adapter(number)
                if before is not None:
                    manager._registered_adapters[number] = before
            raise

    return add_adapter


PATCH = Patch(
    id="failed-load-undone",
    kind="fix",
    versions=">=0.28",
    wraps={"vllm.lora.worker_manager:LRUCacheWorkerLoRAManager.add_adapter": _wrapped},
    reason="worker_manager.py::add_adapter removes the old weights and registers the new ones "
    "before model_manager.py::activate_adapter finds that they do not fit",
)
