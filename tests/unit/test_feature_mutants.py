"""Mutants of vLLM's features, and the fix for default adapters, on stand-ins for vLLM's classes."""

import asyncio
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mm_lora.inside.fixes import default_names
from mm_lora.inside.mutants import features

BY_ID = {patch.id.removeprefix("mutant-"): patch for patch in features.PATCHES}


def patched(name: str, **classes: type) -> None:
    """Apply a mutant to a module that has these classes."""
    module = ModuleType("vllm")
    for own, kind in classes.items():
        setattr(module, own, kind)
    BY_ID[name].apply(module)


def test_guessed_tokens_lose_it_and_prompts_do_not() -> None:
    class InputBatch:
        num_prompt_tokens = np.array([10, 10, 10])
        num_computed_tokens_cpu = np.array([12, 4, 10])

        def make_lora_inputs(self, scheduled: Any, sampled: Any) -> Any:
            mapping = np.array([5, 6, 7])
            return tuple(mapping.repeat(sampled)), tuple(mapping.repeat(scheduled)), {"a"}

    patched("guesses-base", InputBatch=InputBatch)
    counts = np.array([3, 2, 1])
    of_answers, of_rows, _ = InputBatch().make_lora_inputs(counts, counts)
    assert [int(row) for row in of_rows] == [5, 0, 0, 6, 6, 7]
    assert of_answers == (5, 5, 5, 6, 6, 7)


def serving(**more: Any) -> type:
    class BaseServing:
        models = SimpleNamespace(
            engine_client=SimpleNamespace(
                vllm_config=SimpleNamespace(lora_config=SimpleNamespace(**more))
            )
        )

        def _get_message_types(self, request: Any) -> set[str]:
            return {part["type"].split("_")[0] for part in request.messages[0]["content"]}

        def _get_active_default_mm_loras(self, request: Any) -> str | None:
            return "default" if "image" in self._get_message_types(request) else None

        def _maybe_get_adapters(self, request: Any, supports: bool = False) -> str | None:
            return str(request.model)

    return BaseServing


def asked(*types: str) -> Any:
    content = [{"type": one} for one in types]
    return SimpleNamespace(model="mine", messages=[{"content": content}])


def test_the_default_adapter_is_lost_or_comes_first() -> None:
    first, lost = serving(), serving()
    patched("default-first", BaseServing=first)
    assert first()._maybe_get_adapters(asked("image_url"), supports=True) == "default"
    assert first()._maybe_get_adapters(asked("text"), supports=True) == "mine"
    patched("no-default", BaseServing=lost)
    assert lost()._get_active_default_mm_loras(asked("image_url")) is None


@pytest.mark.parametrize(
    ("defaults", "types", "found"),
    [
        (None, ("text", "image_url"), set()),
        ({"image": "/a"}, ("text", "image_url"), {"image"}),
        ({"audio": "/a"}, ("text", "input_audio"), {"audio"}),
        ({"audio": "/a"}, ("text", "audio_url"), {"audio"}),
        ({"image": "/a"}, ("text", "input_audio"), set()),
    ],
)
def test_the_fix_takes_the_flags_names_alone(defaults: Any, types: Any, found: set[str]) -> None:
    module = ModuleType("serving")
    kind = serving(default_mm_loras=defaults)
    module.BaseServing = kind  # type: ignore[attr-defined]
    default_names.PATCH.apply(module)
    assert kind()._get_message_types(asked(*types)) == found


def test_a_sleep_empties_the_slots() -> None:
    reset: list[int] = []
    layer = SimpleNamespace(reset_lora=reset.append)
    manager = SimpleNamespace(modules={"a": layer}, lora_slots=3)

    class CPUWorker:
        model_runner = SimpleNamespace(lora_manager=SimpleNamespace(_adapter_manager=manager))

        def wake_up(self, tags: Any = None) -> str:
            return "awake"

    patched("forgotten-in-sleep", CPUWorker=CPUWorker)
    assert CPUWorker().wake_up() == "awake"
    assert reset == [0, 1, 2]


@pytest.mark.parametrize(("engine", "mapped"), [(0, [5, 6]), (1, [0, 0])])
def test_later_engines_have_no_adapters(engine: int, mapped: list[int]) -> None:
    class LoRAModelRunnerMixin:
        vllm_config = SimpleNamespace(parallel_config=SimpleNamespace(data_parallel_index=engine))

        def set_active_loras(self, batch: Any, scheduled: Any) -> Any:
            return batch.request_lora_mapping.tolist()

    patched("second-engine-base", LoRAModelRunnerMixin=LoRAModelRunnerMixin)
    batch = SimpleNamespace(request_lora_mapping=np.array([5, 6]))
    assert LoRAModelRunnerMixin().set_active_loras(batch, [1, 1]) == mapped
    assert batch.request_lora_mapping.tolist() == [5, 6]


def test_one_engine_alone_loads() -> None:
    class DPLBAsyncMPClient:
        core_engines = ("first", "second")

        async def call_utility_async(self, method: str, *arguments: Any) -> Any:
            return [(method, *arguments, engine) for engine in self.core_engines]

        async def _call_utility_async(self, method: str, *arguments: Any, engine: str) -> Any:
            return [(method, *arguments, engine)]

    patched("loaded-in-one-engine", DPLBAsyncMPClient=DPLBAsyncMPClient)
    client = DPLBAsyncMPClient()
    assert asyncio.run(client.call_utility_async("add_lora", 1)) == [("add_lora", 1, "first")]
    assert len(asyncio.run(client.call_utility_async("pause"))) == 2


def test_who_sends_rows_has_no_adapter() -> None:
    class InputBatch:
        req_ids: Any = ("a", "b", "c")
        num_reqs = 3

        def __init__(self) -> None:
            self.request_lora_mapping = np.array([5, 6, 7])

        def add_request(self, request: Any) -> None:
            pass

        def make_lora_inputs(self, scheduled: Any, sampled: Any) -> list[int]:
            return list(self.request_lora_mapping)

    patched("rows-sent-base", InputBatch=InputBatch)
    batch = InputBatch()
    sent: dict[str, Any] = {"a": [{"image_embeds": 1}], "b": [{"pixel_values": 1}], "c": [None]}
    for name, data in sent.items():
        features = [SimpleNamespace(data=one) for one in data]
        batch.add_request(SimpleNamespace(req_id=name, mm_features=features))
    assert batch.make_lora_inputs([1, 1, 1], [1, 1, 1]) == [0, 6, 7]
