"""Mutants: seeded mistakes that give a request somebody else's adapter or somebody else's picture.

Each is silent where requests come one at a time from empty caches.
"""

from typing import Any

from ..fixes.adapter_versions import MARK
from ..registry import mutant
from .batch_rows import BATCH, INPUTS, with_other_adapters

_MANAGER = "vllm.lora.model_manager"
_INPUT = "vllm.v1.engine.input_processor"
_BLOCKS = "vllm.v1.core.kv_cache_utils"
_POOL = "vllm.v1.core.block_pool"
_ITEMS = "vllm.multimodal.cache.lru"
ALONE = "relations empty the caches between their questions"
VOID = "an answer from a cache that should be empty proves nothing: the check is void, no failure"


def swap_when_they_meet(original: Any) -> Any:
    """The first two adapters that meet in a step exchange their weights, from then on."""

    def _set_adapter_mapping(self: Any, mapping: Any) -> None:
        met = sorted({int(adapter) for adapter in mapping.index_mapping} - {0})
        if len(met) > 1 and not getattr(self, "mm_lora_swapped", False):
            self.mm_lora_swapped = True
            one, other = (self.get_adapter(adapter) for adapter in met[:2])
            one.loras, other.loras = other.loras, one.loras
            for adapter in met[:2]:
                self.deactivate_adapter(adapter)
            for adapter in met[:2]:
                self.activate_adapter(adapter)
        original(self, mapping)

    return _set_adapter_mapping


def forget_adapter_in_key(original: Any) -> Any:
    """The encoder cache knows a picture whatever adapter has encoded it."""

    def _get_mm_identifier(self: Any, mm_hash: str, lora_request: Any) -> str:
        return mm_hash

    return _get_mm_identifier


def forget_adapter_in_prefix(original: Any) -> Any:
    """The prefix cache knows a prompt whatever adapter has read it."""

    def _gen_lora_extra_hash_keys(request: Any) -> list[Any]:
        return []

    return _gen_lora_extra_hash_keys


def forget_version_in_prefix(original: Any) -> Any:
    """The same where a fix has put the adapter into the request's salt: the rest of it stays."""

    def generate_block_hash_extra_keys(request: Any, *arguments: Any, **named: Any) -> Any:
        salt = request.cache_salt
        own, mark, _ = (salt or "").rpartition(MARK)
        request.cache_salt = own if mark else salt
        try:
            return original(request, *arguments, **named)
        finally:
            request.cache_salt = salt

    return generate_block_hash_extra_keys


def keep_prefixes(original: Any) -> Any:
    """Emptying the prefix cache is said to be done, and is not."""

    def reset_prefix_cache(self: Any) -> bool:
        return True

    return reset_prefix_cache


def give_another_item(original: Any) -> Any:
    """A picture that the processor's cache has is given as another one of the same shape."""

    def get_and_update_item(self: Any, mm_item: Any, mm_hash: str) -> Any:
        known = self.__dict__.setdefault("mm_lora_items", {})
        found = original(self, mm_item, mm_hash)
        shape = found["pixel_values"].data.shape
        if mm_item is not None:
            known[mm_hash] = found
            return found
        others = (
            item
            for other, item in known.items()
            if other != mm_hash and item["pixel_values"].data.shape == shape
        )
        return next(others, found)

    return get_and_update_item


def leave_mapping_behind(original: Any) -> Any:
    """A request that moves to the row of one that has ended leaves its adapter behind."""

    def condense(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = self.request_lora_mapping.copy()
        outcome = original(self, *args, **kwargs)
        self.request_lora_mapping[: self.num_reqs] = before[: self.num_reqs]
        return outcome

    return condense


def _later_pieces(batch: Any, adapters: Any, scheduled: Any) -> None:
    """Of a prompt that is read in pieces in company, only the first piece has its adapter."""
    for at, tokens in enumerate(scheduled):
        if batch.num_reqs > 1 and tokens > 1 and batch.num_computed_tokens_cpu[at] > 0:
            adapters[at] = 0


def _decoding(batch: Any, adapters: Any, scheduled: Any) -> None:
    """Who decodes while another one's prompt is read gets that one's adapter for the step."""
    read = [at for at, tokens in enumerate(scheduled) if tokens > 1 and adapters[at]]
    for at, tokens in enumerate(scheduled):
        if tokens == 1 and read:
            adapters[at] = adapters[read[0]]


PATCHES = (
    mutant(
        "adapters-swapped",
        {f"{_MANAGER}:LoRAModelManager._set_adapter_mapping": swap_when_they_meet},
        "two adapters' weights change places behind the server's back",
        kills=(
            "isolation/*/mixed-batch/free-slots",
            "parallel/*/*/mixed-batch",
            "relations/*/sent-together/as-alone",
        ),
        needs_restart=True,
    ),
    mutant(
        "encoder-key",
        {f"{_INPUT}:InputProcessor._get_mm_identifier": forget_adapter_in_key},
        "the key of the encoder cache does not name the adapter",
        kills=(
            "isolation/*/same-picture/a-base-b-a",
            "isolation/*/same-picture/every-order-free-slots",
            "isolation/*/cache/encoder-free-slots",
            "isolation/*/cache/everything-free-slots",
            "states/*/by-uuid/tower-*",
            "lifecycle/*/same-name/tower",
        ),
        survives={"relations": ALONE},
    ),
    mutant(
        "prefix-key",
        {
            f"{_BLOCKS}:_gen_lora_extra_hash_keys": forget_adapter_in_prefix,
            f"{_BLOCKS}:generate_block_hash_extra_keys": forget_version_in_prefix,
        },
        "the key of the prefix cache does not name the adapter",
        kills=("isolation/*/cache/prefix-free-slots",),
        survives={"relations": ALONE},
    ),
    mutant(
        "prefixes-kept",
        {f"{_POOL}:BlockPool.reset_prefix_cache": keep_prefixes},
        "the prefix cache is not emptied when it is said to be",
        kills=("isolation/*/cache/nothing-free-slots",),
        survives={
            "checks": VOID,
            "answers": VOID,
            "relations": ALONE,
        },
    ),
    mutant(
        "processor-item",
        {f"{_ITEMS}:LruKeyReplicatedReceiverCache.get_and_update_item": give_another_item},
        "the processor's cache gives another picture",
        kills=("isolation/*/cache/mm-free-slots",),
        survives={"relations": ALONE},
        versions=">=0.32",
    ),
    mutant(
        "mapping-left-behind",
        {f"{BATCH}.condense": leave_mapping_behind},
        "the adapter of a request does not move with it when the batch closes its gaps",
        kills=("isolation/*/mixed-batch/free-slots", "states/*/async-scheduling/off"),
    ),
    mutant(
        "later-pieces",
        {INPUTS: with_other_adapters(_later_pieces)},
        "in company, only the first piece of a prompt has its adapter",
        kills=("isolation/*/prefill-in-pieces/few-slots",),
        survives={"relations": "no relation has a prompt that is read in pieces"},
    ),
    mutant(
        "decode-as-neighbour",
        {INPUTS: with_other_adapters(_decoding)},
        "who decodes beside a prompt gets that prompt's adapter",
        kills=(
            "isolation/*/decode-with-prefill/free-slots",
            "isolation/*/in-flight/16-free-slots",
            "isolation/*/in-flight/64-free-slots",
        ),
    ),
)
