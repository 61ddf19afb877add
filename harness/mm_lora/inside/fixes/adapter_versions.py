"""Fix: the caches tell each load of an adapter apart, even under the same name and path."""

from typing import Any

from ..registry import Patch

SERVING = "vllm.entrypoints.openai.models.serving"
INPUT = "vllm.v1.engine.input_processor"
MARK = "#"
"""In a request's cache salt, before what this fix says of the adapter."""

_loads: dict[int, int] = {}
"""Adapter's number → how often it was loaded in place. The API server alone fills and reads it."""


def _version(lora_request: Any) -> str:
    number = lora_request.lora_int_id
    return f"{number}.{_loads.get(number, 0)}"


def _counting(original: Any) -> Any:
    async def load_lora_adapter(self: Any, *arguments: Any, **named: Any) -> Any:
        result = await original(self, *arguments, **named)
        if isinstance(result, str):
            request = named.get("request") or arguments[0]
            number = self.lora_requests[request.lora_name].lora_int_id
            _loads[number] = _loads.get(number, 0) + 1
        return result

    return load_lora_adapter


def _identifying(original: Any) -> Any:
    """The encoder cache: its key has the adapter's name, and no more."""

    def _get_mm_identifier(self: Any, mm_hash: str, lora_request: Any) -> Any:
        known = original(self, mm_hash, lora_request)
        return known if known == mm_hash else f"{_version(lora_request)}:{known}"

    return _get_mm_identifier


def _salting(original: Any) -> Any:
    """The prefix cache: its key has name and path; a salt goes into the first block's."""

    def process_inputs(self: Any, *arguments: Any, **named: Any) -> Any:
        request = original(self, *arguments, **named)
        if request.lora_request is not None:
            request.cache_salt = f"{request.cache_salt or ''}{MARK}{_version(request.lora_request)}"
        return request

    return process_inputs


PATCH = Patch(
    id="adapter-versions",
    kind="fix",
    versions=">=0.28",
    wraps={
        f"{SERVING}:OpenAIServingModels.load_lora_adapter": _counting,
        f"{INPUT}:InputProcessor._get_mm_identifier": _identifying,
        f"{INPUT}:InputProcessor.process_inputs": _salting,
    },
    reason="input_processor.py::_get_mm_identifier knows an adapter by its name, "
    "kv_cache_utils.py::_gen_lora_extra_hash_keys by name and path: another one is taken for it",
    upstream=("44939", "44950", "42125", "48352"),
)
