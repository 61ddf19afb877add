"""Mutants: adapters that are lost where a feature of vLLM meets them, and nowhere else."""

from functools import partial
from typing import Any

from ..fixes.default_names import SERVING
from ..registry import mutant
from .batch_rows import BATCH, INPUTS
from .states import noted_where, use_what_was_noted

_MIXIN = "vllm.v1.worker.lora_model_runner_mixin:LoRAModelRunnerMixin"
_WAKE = ("vllm.v1.worker.cpu_worker:CPUWorker", "vllm.v1.worker.gpu_worker:Worker")
_CORE = "vllm.v1.engine.core_client:DPLBAsyncMPClient"


def lose_guesses(original: Any) -> Any:
    """Rows of guessed tokens have no adapter; the token before them keeps it."""

    def make_lora_inputs(self: Any, scheduled: Any, sampled: Any) -> Any:
        of_answers, of_rows, adapters = original(self, scheduled, sampled)
        rows, first = list(of_rows), 0
        for at, count in enumerate(int(one) for one in scheduled):
            answering = self.num_computed_tokens_cpu[at] >= self.num_prompt_tokens[at]
            if answering:
                rows[first + 1 : first + count] = [0] * (count - 1)
            first += count
        return of_answers, tuple(rows), adapters

    return make_lora_inputs


def have_no_default(original: Any) -> Any:
    """Whoever asks the base about a medium gets the base."""

    def _get_active_default_mm_loras(self: Any, request: Any) -> None:
        return None

    return _get_active_default_mm_loras


def prefer_default(original: Any) -> Any:
    """Who names an adapter gets the default where there is one."""

    def _maybe_get_adapters(self: Any, request: Any, *arguments: Any, **named: Any) -> Any:
        default = self._get_active_default_mm_loras(request)
        return default or original(self, request, *arguments, **named)

    return _maybe_get_adapters


def forget_in_sleep(original: Any) -> Any:
    """What the slots held is gone after a sleep, and vLLM goes on as if it were there."""

    def wake_up(self: Any, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        manager = self.model_runner.lora_manager._adapter_manager
        for layer in manager.modules.values():
            for slot in range(manager.lora_slots):
                layer.reset_lora(slot)
        return result

    return wake_up


def lose_in_later_engines(original: Any) -> Any:
    """The engines beside the first have no adapters."""

    def set_active_loras(self: Any, batch: Any, *arguments: Any, **named: Any) -> Any:
        right = batch.request_lora_mapping
        if self.vllm_config.parallel_config.data_parallel_index:
            batch.request_lora_mapping = right * 0
        try:
            return original(self, batch, *arguments, **named)
        finally:
            batch.request_lora_mapping = right

    return set_active_loras


def load_in_first_engine(original: Any) -> Any:
    """An adapter is loaded in the first engine alone."""

    async def call_utility_async(self: Any, method: str, *arguments: Any) -> Any:
        if method != "add_lora":
            return await original(self, method, *arguments)
        return await self._call_utility_async(method, *arguments, engine=self.core_engines[0])

    return call_utility_async


def _sends_rows(request: Any) -> bool:
    data = [feature.data for feature in request.mm_features or ()]
    return any(one is not None and "image_embeds" in one for one in data)


_mutant = partial(
    mutant, versions=">=0.32", survives={"relations": "no relation reaches the feature"}
)

PATCHES = (
    _mutant(
        "guesses-base",
        {INPUTS: lose_guesses},
        "tokens that are guessed and read along have no adapter",
        kills=("states/*/n-gram/language-*", "states/*/n-gram/in-company"),
    ),
    _mutant(
        "no-default",
        {f"{SERVING}._get_active_default_mm_loras": have_no_default},
        "a default adapter for a medium is not used",
        kills=("states/*/default-adapter/base",),
    ),
    _mutant(
        "default-first",
        {f"{SERVING}._maybe_get_adapters": prefer_default},
        "a default adapter takes the place of the one that is asked",
        kills=("states/*/default-adapter/language-*", "states/*/default-adapter/in-company"),
    ),
    _mutant(
        "forgotten-in-sleep",
        {f"{_WAKE[0]}.wake_up": forget_in_sleep},
        "a sleep empties the slots of adapters",
        kills=("states/*/sleep/caches",),
        needs_restart=True,
    ),
    _mutant(
        "second-engine-base",
        {f"{_MIXIN}.set_active_loras": lose_in_later_engines},
        "of several engines the first alone has adapters",
        kills=("states/*/data-parallel/language-*", "states/*/data-parallel/in-company"),
    ),
    _mutant(
        "loaded-in-one-engine",
        {f"{_CORE}.call_utility_async": load_in_first_engine},
        "of several engines the first alone loads an adapter in the place of another",
        kills=("states/*/data-parallel/in-place",),
        needs_restart=True,
    ),
    _mutant(
        "rows-sent-base",
        {f"{BATCH}.add_request": noted_where(_sends_rows), INPUTS: use_what_was_noted},
        "who sends a picture's rows in place of its pixels has no adapter",
        kills=("states/*/embeds/alone", "states/*/embeds/beside-pixels"),
    ),
)
