"""Mutants: adapters that are lost late, far behind, for some answers alone, or after a disturbance.

Each is silent for one greedy answer of 16 tokens to a short prompt that nothing disturbs; `kills`
says which state shows it. The stale row of a batch that is condensed is
`tenants.leave_mapping_behind`.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from ..registry import Make, mutant
from .batch_rows import BATCH, INPUTS, with_other_adapters

_RUNNER = "vllm.v1.worker.gpu_model_runner:GPUModelRunner"
_LATE, _FAR = 40, 1500
_LOST = "mm_lora_lost"
"""Attribute of a batch: request → the adapter that its rows get instead."""


def _lost_where(rule: Callable[[Any, int], bool]) -> Make:
    """The rows of the language model of each request for which `rule` (batch, place) holds have no
    adapter."""

    def lose(batch: Any, adapters: Any, scheduled: Any) -> None:
        for at in range(batch.num_reqs):
            if rule(batch, at):
                adapters[at] = 0

    return with_other_adapters(lose)


def _is_late(batch: Any, at: int) -> bool:
    return int(batch.num_computed_tokens_cpu[at]) - int(batch.num_prompt_tokens[at]) >= _LATE


def _is_named(pattern: str) -> Callable[[Any, int], bool]:
    """Whether vLLM's name of the request is so: of one of several answers it begins with the
    answer's number, of a beam it has the beam's, of /v1/completions it begins with `cmpl-`, of
    /v1/responses with `resp_`."""

    def rule(batch: Any, at: int) -> bool:
        return re.search(pattern, batch.req_ids[at]) is not None

    return rule


def lose_far_positions(original: Any) -> Any:
    """Rows of the language model from a position on have no adapter."""

    def make_lora_inputs(self: Any, scheduled: Any, sampled: Any) -> Any:
        of_answers, of_rows, adapters = original(self, scheduled, sampled)
        starts = [int(start) for start in self.num_computed_tokens_cpu[: self.num_reqs]]
        ends = [start + int(count) for start, count in zip(starts, scheduled, strict=True)]
        places = [at for pair in zip(starts, ends, strict=True) for at in range(*pair)]
        last = [
            end - 1 for end, count in zip(ends, sampled, strict=True) for _ in range(int(count))
        ]
        return _cut(of_answers, last), _cut(of_rows, places), adapters

    return make_lora_inputs


def _cut(mapping: Any, places: list[int]) -> tuple[int, ...]:
    return tuple(
        0 if place >= _FAR else adapter for adapter, place in zip(mapping, places, strict=True)
    )


def read_one_row_off(original: Any) -> Any:
    """The prompt's logprobs of an adapter's request are read from the row before."""

    def _get_prompt_logprobs_dict(self: Any, hidden: Any, scheduled: Any) -> Any:
        wrong = hidden.clone()
        for name in self.num_prompt_logprobs:
            at = self.input_batch.req_id_to_index.get(name)
            if at is not None and self.requests[name].lora_request is not None:
                first = int(self.query_start_loc.np[at])
                end = first + scheduled.get(name, 0)
                wrong[first:end] = hidden[first:end].roll(1, 0)
        return original(self, wrong, scheduled)

    return _get_prompt_logprobs_dict


def noted_where(rule: Callable[[Any], bool]) -> Make:
    """Notes, of a request that comes into the batch, that its adapter is lost if `rule` holds."""

    def make(original: Any) -> Any:
        def add_request(self: Any, request: Any) -> Any:
            if rule(request):
                self.__dict__.setdefault(_LOST, {})[request.req_id] = 0
            return original(self, request)

        return add_request

    return make


def _is_read_again(request: Any) -> bool:
    return bool(request.output_token_ids) and request.num_computed_tokens < request.num_tokens - 1


def _begins_inside(request: Any) -> bool:
    known = request.num_computed_tokens
    spans = [feature.mm_position for feature in request.mm_features or ()]
    inside = any(span.offset < known < span.offset + span.length for span in spans)
    return inside and not request.output_token_ids


def _noted(batch: Any, adapters: Any, scheduled: Any) -> None:
    """The requests of a batch have what was noted for them."""
    noted = getattr(batch, _LOST, {})
    for at, name in enumerate(batch.req_ids[: batch.num_reqs]):
        adapters[at] = noted.get(name, adapters[at])


use_what_was_noted = with_other_adapters(_noted)


def leave_adapter_behind(original: Any) -> Any:
    """Whoever moves to the row of a request that was broken off gets that one's adapter."""

    def _update_states(self: Any, scheduled: Any) -> Any:
        batch = self.input_batch
        left = [
            (at, int(batch.request_lora_mapping[at]))
            for name in scheduled.finished_req_ids
            if (at := batch.req_id_to_index.get(name)) is not None
            and _is_broken_off(self.requests[name])
        ]
        outcome = original(self, scheduled)
        for at, adapter in left:
            if at < batch.num_reqs:
                batch.__dict__.setdefault(_LOST, {})[batch.req_ids[at]] = adapter
        return outcome

    return _update_states


def _is_broken_off(request: Any) -> bool:
    """Steps that are still under way leave one or two tokens uncertain."""
    return bool(len(request.output_token_ids) < request.sampling_params.max_tokens - 2)


_mutant = partial(
    mutant, versions=">=0.28", survives={"relations": "no relation reaches the state"}
)
_ADDED = f"{BATCH}.add_request"

PATCHES = (
    _mutant(
        "late-tokens",
        {INPUTS: _lost_where(_is_late)},
        f"an answer has its adapter for {_LATE} tokens alone",
        kills=("states/*/long-answer/language-*",),
    ),
    _mutant(
        "far-positions",
        {INPUTS: lose_far_positions},
        f"positions from {_FAR} on have no adapter",
        kills=("states/*/long-context/language-*",),
    ),
    _mutant(
        "prompt-row-off",
        {f"{_RUNNER}._get_prompt_logprobs_dict": read_one_row_off},
        "logprobs of a prompt are read one row off",
        kills=("states/*/prompt-positions/*",),
    ),
    _mutant(
        "later-answers",
        {INPUTS: _lost_where(_is_named(r"^[1-9]\d*_"))},
        "of several answers the first alone has the adapter",
        kills=("states/*/several/language-*",),
    ),
    _mutant(
        "later-beams",
        {INPUTS: _lost_where(_is_named(r"-beam-[1-9]"))},
        "of several beams the first alone has the adapter",
        kills=("states/*/beams/language-*",),
    ),
    _mutant(
        "completions-base",
        {INPUTS: _lost_where(_is_named(r"^(\d+_)?cmpl-"))},
        "/v1/completions answers as the base",
        kills=("states/*/completions/language-*",),
    ),
    _mutant(
        "responses-base",
        {INPUTS: _lost_where(_is_named(r"^resp_"))},
        "/v1/responses answers as the base",
        kills=("states/*/responses/language-*",),
    ),
    _mutant(
        "lost-when-preempted",
        {_ADDED: noted_where(_is_read_again), INPUTS: use_what_was_noted},
        "what is read again after a preemption has no adapter",
        kills=("states/*/preempted/*",),
    ),
    _mutant(
        "lost-after-part-of-picture",
        {_ADDED: noted_where(_begins_inside), INPUTS: use_what_was_noted},
        "what follows a cached part of a picture has no adapter",
        kills=("states/*/hit-in-picture/language-*",),
    ),
    _mutant(
        "left-behind",
        {f"{_RUNNER}._update_states": leave_adapter_behind, INPUTS: use_what_was_noted},
        "who moves to the row of a request that was broken off gets its adapter",
        kills=("states/*/client-leaves/*",),
    ),
)
