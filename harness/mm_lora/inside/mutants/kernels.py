"""Mutants: seeded mistakes outside the model's class, which the checks of answers must find."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace as changed
from typing import Any

from ..registry import Make, mutant

_MAPPING = "vllm.lora.model_manager:LoRAModelManager._set_adapter_mapping"
_CHAT = "vllm.entrypoints.openai.chat_completion.serving:OpenAIServingChat"
_DROPPED = 3
NOT_STREAMED = "no relation streams its answers"

Rule = Callable[[Any, Any, int], int]
"""(manager, mapping, adapter id of a row, 0 for none) → the id that the row gets instead."""


def _mapped_by(rule: Rule) -> dict[str, Make]:
    """Each row of each mapping gets the adapter that `rule` says."""

    def make(original: Any) -> Any:
        def _set_adapter_mapping(self: Any, mapping: Any) -> None:
            wrong = changed(
                mapping,
                index_mapping=tuple(rule(self, mapping, int(i)) for i in mapping.index_mapping),
            )
            used = [int(i) for i in mapping.index_mapping if i]
            if used:
                self.mm_lora_last_used = used[-1]
            original(self, wrong)

        return _set_adapter_mapping

    return {_MAPPING: make}


def _newest(manager: Any, mapping: Any, adapter: int) -> int:
    if not adapter or mapping.type.name != "LANGUAGE":
        return adapter
    there = [int(i) for i in manager.lora_index_to_id if i is not None]
    return max((i for i in there if _has_language(manager.get_adapter(i))), default=adapter)


def _has_language(adapter: Any) -> bool:
    return any(path.startswith("language_model.") for path in adapter.loras)


def _last_used(manager: Any, mapping: Any, adapter: int) -> int:
    return adapter or getattr(manager, "mm_lora_last_used", 0)


def _drop_token(original: Any) -> Any:
    async def stream(self: Any, *arguments: Any, **options: Any) -> AsyncIterator[str]:
        tokens = 0
        async for event in original(self, *arguments, **options):
            tokens += '"logprob":' in event
            if tokens == _DROPPED:
                tokens += 1
                continue
            yield event

    return stream


PATCHES = (
    mutant(
        "language-rows-newest",
        _mapped_by(_newest),
        "the language model's rows of any adapter get the newest one that has weights there: "
        "those of a slot that is not cleared",
        kills=("dice/*/*/text-only", "dice/*/[!a]*/effect", "relations/*/*/text-untouched"),
    ),
    mutant(
        "base-rows-stale",
        _mapped_by(_last_used),
        "rows without an adapter keep the one used last: an index buffer that is not cleared",
        kills=(
            "dice/*/base/unchanged",
            "isolation/*/cache/nothing-free-slots",
            "dice/*/tower-attention/text-only",
        ),
    ),
    mutant(
        "stream-drops-token",
        {f"{_CHAT}.chat_completion_stream_generator": _drop_token},
        "one event of a streamed answer is lost between the engine and the client",
        kills=("dice/*/*/streamed",),
        survives={"relations": NOT_STREAMED},
    ),
)
