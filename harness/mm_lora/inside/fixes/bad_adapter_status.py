"""Fix: an adapter that the engine refuses is answered with 400, a bad request, not with 500."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    async def load_lora_adapter(self: Any, *arguments: Any, **named: Any) -> Any:
        result = await original(self, *arguments, **named)
        error = getattr(result, "error", None)
        if error is not None and error.code == 500 and "add_lora" in error.message:
            error.code, error.type = 400, "BadRequestError"
        return result

    return load_lora_adapter


PATCH = Patch(
    id="bad-adapter-status",
    kind="fix",
    versions=">=0.28",
    wraps={
        "vllm.entrypoints.openai.models.serving:OpenAIServingModels.load_lora_adapter": _wrapped
    },
    reason="serving.py::load_lora_adapter answers every error of add_lora with 500, as if the "
    "server had failed, where the adapter is at fault",
)
