"""What mixes tenants up does so on a stand-in for vLLM; the fix for the base's rows mends it."""

from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mm_lora.inside.fixes import base_rows
from mm_lora.inside.fixes.adapter_versions import MARK
from mm_lora.inside.hooks import HookGone
from mm_lora.inside.mutants import life as life_mutants
from mm_lora.inside.mutants import refusal as refusal_mutants
from mm_lora.inside.mutants import tenants as tenant_mutants

BY_ID = {patch.id: patch for patch in tenant_mutants.PATCHES}


def test_rows_without_an_adapter_shrink_to_nothing() -> None:
    def bgmv_shrink(x: Any, weights: Any, out: Any, indices: Any, scaling: float = 1.0) -> None:
        out[:] = scaling * np.einsum("bi,boi->bo", x, weights[indices])

    module = ModuleType("ops")
    module.bgmv_shrink = bgmv_shrink  # type: ignore[attr-defined]
    base_rows.PATCH.apply(module)
    weights = np.stack([np.full((2, 3), 1.0), np.full((2, 3), np.inf)])
    out = np.full((3, 2), 7.0)
    module.bgmv_shrink(np.ones((3, 3)), weights, out, np.array([0, -1, 0]), scaling=2.0)
    assert out.tolist() == [[6.0, 6.0], [0.0, 0.0], [6.0, 6.0]]


class Manager:
    def __init__(self) -> None:
        self.models = {1: SimpleNamespace(loras="one"), 2: SimpleNamespace(loras="two")}
        self.slots: dict[int, str] = {}

    def get_adapter(self, adapter: int) -> Any:
        return self.models[adapter]

    def deactivate_adapter(self, adapter: int) -> None:
        del self.slots[adapter]

    def activate_adapter(self, adapter: int) -> None:
        self.slots[adapter] = self.models[adapter].loras


def test_adapters_are_swapped_once_they_meet() -> None:
    class LoRAModelManager(Manager):
        def _set_adapter_mapping(self, mapping: Any) -> None:
            pass

    module = ModuleType("manager")
    module.LoRAModelManager = LoRAModelManager  # type: ignore[attr-defined]
    BY_ID["mutant-adapters-swapped"].apply(module)
    manager = LoRAModelManager()
    manager.slots = {1: "one", 2: "two"}
    manager._set_adapter_mapping(SimpleNamespace(index_mapping=(1, 1, 0)))
    assert manager.slots == {1: "one", 2: "two"}
    for _ in range(2):
        manager._set_adapter_mapping(SimpleNamespace(index_mapping=(2, 0, 1)))
        assert manager.slots == {1: "two", 2: "one"}


def test_the_key_forgets_the_adapter() -> None:
    class InputProcessor:
        def _get_mm_identifier(self, mm_hash: str, lora_request: Any) -> str:
            return f"{lora_request}:{mm_hash}"

    module = ModuleType("input")
    module.InputProcessor = InputProcessor  # type: ignore[attr-defined]
    BY_ID["mutant-encoder-key"].apply(module)
    assert InputProcessor()._get_mm_identifier("abc", "all") == "abc"


def test_a_moved_request_leaves_its_adapter_behind() -> None:
    class InputBatch:
        num_reqs = 2
        request_lora_mapping = np.array([0, 5, 6])  # row 0 has ended

        def condense(self) -> None:
            self.request_lora_mapping[0] = self.request_lora_mapping[2]

    module = ModuleType("batch")
    module.InputBatch = InputBatch  # type: ignore[attr-defined]
    BY_ID["mutant-mapping-left-behind"].apply(module)
    batch = InputBatch()
    batch.condense()
    assert batch.request_lora_mapping[:2].tolist() == [0, 5]


@pytest.mark.parametrize(
    ("mutant", "mapped"),
    [("mutant-later-pieces", [5, 0, 7]), ("mutant-decode-as-neighbour", [6, 6, 7])],
)
def test_requests_in_company_get_another_adapter(mutant: str, mapped: list[int]) -> None:
    """Three requests: one decodes, one reads its second piece, one its first."""

    class InputBatch:
        num_computed_tokens_cpu = np.array([40, 512, 0])
        request_lora_mapping = np.array([5, 6, 7])
        num_reqs = 3

        def make_lora_inputs(self, scheduled: Any, sampled: Any) -> list[int]:
            return self.request_lora_mapping[: self.num_reqs].tolist()

    module = ModuleType("batch")
    module.InputBatch = InputBatch  # type: ignore[attr-defined]
    BY_ID[mutant].apply(module)
    batch = InputBatch()
    assert batch.make_lora_inputs(np.array([1, 300, 200]), np.ones(3)) == mapped
    assert batch.request_lora_mapping.tolist() == [5, 6, 7]
    batch.num_reqs = 1
    assert batch.make_lora_inputs(np.array([1]), np.ones(1)) == [5]


def test_the_prefix_cache_does_not_know_the_adapter_even_where_a_fix_names_it() -> None:
    class Request(SimpleNamespace):
        lora_request = "mine"

    def keys(request: Any) -> list[Any]:
        return [("lora", request.lora_request)]

    def generate_block_hash_extra_keys(request: Any, start: int) -> list[Any]:
        salts = [("salt", request.cache_salt)] if start == 0 and request.cache_salt else []
        return [*module._gen_lora_extra_hash_keys(request), *salts]

    module = ModuleType("blocks")
    module._gen_lora_extra_hash_keys = keys  # type: ignore[attr-defined]
    module.generate_block_hash_extra_keys = generate_block_hash_extra_keys  # type: ignore[attr-defined]
    BY_ID["mutant-prefix-key"].apply(module)
    for salt, left in (
        (None, []),
        ("theirs", [("salt", "theirs")]),
        (f"{MARK}1.0", []),
        (f"theirs{MARK}1.0", [("salt", "theirs")]),
    ):
        request = Request(cache_salt=salt)
        assert module.generate_block_hash_extra_keys(request, 0) == left
        assert request.cache_salt == salt


def test_the_processor_cache_gives_another_picture_of_the_same_shape() -> None:
    class LruKeyReplicatedReceiverCache:
        def __init__(self) -> None:
            self.items: dict[str, Any] = {}

        def get_and_update_item(self, mm_item: Any, mm_hash: str) -> Any:
            return self.items.setdefault(mm_hash, mm_item)

    module = ModuleType("lru")
    module.LruKeyReplicatedReceiverCache = LruKeyReplicatedReceiverCache  # type: ignore[attr-defined]
    BY_ID["mutant-processor-item"].apply(module)
    cache = LruKeyReplicatedReceiverCache()

    def item(rows: int) -> dict[str, Any]:
        return {"pixel_values": SimpleNamespace(data=np.zeros(rows))}

    one, larger, other = item(1), item(3), item(1)
    for name, new in (("one", one), ("larger", larger), ("other", other)):
        assert cache.get_and_update_item(new, name) is new
    assert cache.get_and_update_item(None, "one") is other
    assert cache.get_and_update_item(None, "larger") is larger


PATCHES = (
    base_rows.PATCH,
    *tenant_mutants.PATCHES,
    *life_mutants.PATCHES,
    *refusal_mutants.PATCHES,
)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.id)
def test_a_lost_hook_point_is_named(patch: Any) -> None:
    with pytest.raises(HookGone):
        patch.apply(ModuleType("empty"))
