"""Fix: load_inplace loads once, not again at every step of every request of that adapter."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    async def load_lora_adapter(self: Any, *arguments: Any, **named: Any) -> Any:
        result = await original(self, *arguments, **named)
        if isinstance(result, str):
            request = named.get("request") or arguments[0]
            self.lora_requests[request.lora_name].load_inplace = False
        return result

    return load_lora_adapter


PATCH = Patch(
    id="load-in-place-once",
    kind="fix",
    versions=">=0.28",
    wraps={
        "vllm.entrypoints.openai.models.serving:OpenAIServingModels.load_lora_adapter": _wrapped
    },
    reason="serving.py::load_lora_adapter keeps the request with load_inplace set, so that "
    "worker_manager.py::add_adapter reads the files again at every step",
    upstream=("33791", "36373"),
)
