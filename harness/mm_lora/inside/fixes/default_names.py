"""Fix: of the adapters, those that `--default-mm-loras` names are anybody's default, no others."""

from typing import Any

from ..registry import Patch

SERVING = "vllm.entrypoints.serve.engine.serving:BaseServing"
TYPES = f"{SERVING}._get_message_types"
SOUND = "input_audio"


def _wrapped(original: Any) -> Any:
    def _get_message_types(self: Any, request: Any) -> set[str]:
        config = self.models.engine_client.vllm_config.lora_config
        defaults = set(config.default_mm_loras or ()) if config is not None else set()
        found = set(original(self, request))
        if _hears(request):
            found.add("audio")
        return found & defaults

    return _get_message_types


def _hears(request: Any) -> bool:
    """Whether a message has a sound as OpenAI's API calls it."""
    messages = getattr(request, "messages", None) or ()
    parts = [
        part
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
    ]
    return any(part.get("type") == SOUND for part in parts if isinstance(part, dict))


PATCH = Patch(
    id="default-adapters-by-flag",
    kind="fix",
    versions=">=0.32",
    wraps={TYPES: _wrapped},
    reason="serving.py::_get_active_default_mm_loras takes any adapter whose name is the beginning "
    "of a part's type: one called `text` answers for the base; and of `input_audio` it makes "
    "`input`, so that sounds have no default",
)
