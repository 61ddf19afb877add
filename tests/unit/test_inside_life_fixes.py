"""Fixes for loading and replacing adapters, each on a stand-in for what it mends."""

import asyncio
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from mm_lora.inside.fixes import (
    adapter_files,
    adapter_slots,
    adapter_tensors,
    adapter_versions,
    failed_load,
    kv_zeroing,
    load_in_place,
    peft_type,
    resolver_config,
    resolver_root,
)
from mm_lora.inside.hooks import HookGone
from mm_lora.inside.registry import Patch


class Loading:
    """A LoRARequest, as far as the fixes look."""

    def __init__(self, name: str, number: int, path: str = "", load_inplace: bool = False) -> None:
        self.lora_name, self.lora_int_id, self.lora_path = name, number, path
        self.load_inplace = load_inplace


def patched(patch: Patch, name: str, **members: Any) -> ModuleType:
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    patch.apply(module)
    return module


class Serving:
    """Loads every adapter but the one called `bad`."""

    def __init__(self) -> None:
        self.lora_requests: dict[str, Loading] = {}

    async def load_lora_adapter(self, request: Any) -> Any:
        if request.lora_name == "bad":
            return SimpleNamespace(error="refused")
        old = self.lora_requests.get(request.lora_name)
        number = old.lora_int_id if old else len(self.lora_requests) + 1
        self.lora_requests[request.lora_name] = Loading(request.lora_name, number, "", True)
        return "Success"


def load(serving: Any, name: str) -> None:
    asyncio.run(serving.load_lora_adapter(SimpleNamespace(lora_name=name)))


def test_loaded_in_place_once() -> None:
    class Own(Serving):
        load_lora_adapter = Serving.load_lora_adapter

    serving = patched(load_in_place.PATCH, "m", OpenAIServingModels=Own).OpenAIServingModels()
    load(serving, "a")
    load(serving, "bad")
    assert serving.lora_requests["a"].load_inplace is False


def test_each_load_is_another_to_the_caches() -> None:
    class Own(Serving):
        load_lora_adapter = Serving.load_lora_adapter

    class Input:
        def _get_mm_identifier(self, mm_hash: str, lora_request: Any) -> str:
            return f"{lora_request.lora_name}:{mm_hash}" if lora_request else mm_hash

        def process_inputs(self, lora_request: Any) -> Any:
            return SimpleNamespace(lora_request=lora_request, cache_salt="mine")

    patch = adapter_versions.PATCH
    serving = patched(patch, adapter_versions.SERVING, OpenAIServingModels=Own)
    models = serving.OpenAIServingModels()
    inputs = patched(patch, adapter_versions.INPUT, InputProcessor=Input).InputProcessor()
    seen: list[tuple[str, str]] = []
    for name in ("a", "a", "b"):
        load(models, name)
        request = models.lora_requests[name]
        salt = inputs.process_inputs(lora_request=request).cache_salt
        seen.append((inputs._get_mm_identifier("hash", request), salt))
    assert len({key for key, _ in seen}) == len({salt for _, salt in seen}) == 3
    assert seen[0][0].endswith(":a:hash")
    assert inputs._get_mm_identifier("hash", None) == "hash"
    assert inputs.process_inputs(lora_request=None).cache_salt == "mine"


class Manager:
    """Two adapters at most are kept apart: by number."""

    def __init__(self) -> None:
        self._registered_adapters: dict[int, str] = {}

    def list_adapters(self) -> dict[int, str]:
        return dict(self._registered_adapters)

    def remove_adapter(self, number: int) -> None:
        self._registered_adapters.pop(number, None)


def test_a_failed_load_is_undone() -> None:
    class Worker:
        def __init__(self) -> None:
            self._adapter_manager = Manager()

        def add_adapter(self, lora_request: Any) -> bool:
            self._adapter_manager._registered_adapters[lora_request.lora_int_id] = lora_request
            if lora_request.lora_path == "bad":
                raise ValueError("does not fit")
            return True

    module = patched(failed_load.PATCH, "m", LRUCacheWorkerLoRAManager=Worker)
    worker = module.LRUCacheWorkerLoRAManager()
    good = Loading("a", 1, "good")
    assert worker.add_adapter(good)
    for number in (1, 2):
        with pytest.raises(ValueError, match="does not fit"):
            worker.add_adapter(Loading("a", number, "bad"))
    assert worker._adapter_manager.list_adapters() == {1: good}


def test_an_evicted_adapter_comes_back_as_it_was(tmp_path: Path) -> None:
    class Worker:
        def _load_adapter(self, lora_request: Any) -> str:
            return (Path(lora_request.lora_path) / "tensors").read_text()

    worker = patched(adapter_files.PATCH, "m", WorkerLoRAManager=Worker).WorkerLoRAManager()
    file = tmp_path / "tensors"
    file.write_text("first")
    request = Loading("a", 1, str(tmp_path))
    assert worker._load_adapter(request) == "first"
    file.write_text("second")
    assert worker._load_adapter(request) == "first"
    assert worker._load_adapter(Loading("a", 1, str(tmp_path), load_inplace=True)) == "second"
    file.unlink()
    assert worker._load_adapter(request) == "second"


def test_only_lora_is_lora() -> None:
    class Helper:
        @classmethod
        def from_dict(cls, config_dict: dict[str, Any]) -> str:
            return "taken"

    helper = patched(peft_type.PATCH, "m", PEFTHelper=Helper).PEFTHelper
    assert helper.from_dict({"peft_type": "LORA"}) == helper.from_dict({}) == "taken"
    with pytest.raises(ValueError, match="LOHA"):
        helper.from_dict({"peft_type": "LOHA"})


def test_the_resolver_stays_inside(tmp_path: Path) -> None:
    class Resolver:
        lora_cache_dir = str(tmp_path / "inside")

        async def resolve_lora(self, base_model_name: str, lora_name: str) -> str:
            return await self._get_lora_req_from_path(lora_name)

        async def _get_lora_req_from_path(self, lora_name: str) -> str:
            if lora_name == "no-type":
                raise KeyError("peft_type")
            return lora_name

    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path)
    module = patched(resolver_root.PATCH, "m", FilesystemResolver=Resolver)
    resolver_config.PATCH.apply(module)
    resolver = module.FilesystemResolver()
    names = ["a", "deep/a", "a/../b", "../a", "link/a", str(tmp_path), ".", "", "no-type"]
    found = [asyncio.run(resolver.resolve_lora("base", name)) for name in names]
    assert found == ["a", "deep/a", "a/../b"] + [None] * 6


def test_blocks_are_zeroed() -> None:
    class KVCacheConfig:
        @property
        def needs_kv_cache_zeroing(self) -> bool:
            return False

    module = patched(kv_zeroing.PATCH, "m", KVCacheConfig=KVCacheConfig)
    assert module.KVCacheConfig().needs_kv_cache_zeroing is True
    with pytest.raises(HookGone, match="needs_kv_cache_zeroing"):
        patched(kv_zeroing.PATCH, "m", KVCacheConfig=type("KVCacheConfig", (), {}))


@pytest.mark.parametrize(
    ("slots", "running", "adapter", "let_in"),
    [
        (1, [7], 8, False),  # its picture waits for the encoder: the scheduler forgot it
        (1, [7], 7, True),
        (2, [7], 8, True),
        (1, [None], 8, True),
        (1, [7], None, True),
    ],
)
def test_a_waiting_requests_adapter_keeps_its_slot(
    slots: int, running: list[int | None], adapter: int | None, let_in: bool
) -> None:
    def request(number: int | None) -> Any:
        return SimpleNamespace(
            lora_request=None if number is None else SimpleNamespace(lora_int_id=number)
        )

    class Scheduler:
        lora_config = SimpleNamespace(max_loras=slots)

        def _handle_blocked_waiting_request(self, request: Any) -> bool:
            return True

    scheduler = patched(adapter_slots.PATCH, "m", Scheduler=Scheduler).Scheduler()
    scheduler.running = [request(number) for number in running]
    assert scheduler._handle_blocked_waiting_request(request(adapter)) is let_in
    scheduler.lora_config = None
    assert scheduler._handle_blocked_waiting_request(request(adapter))


class Values:
    """A tensor, as far as the check looks."""

    def __init__(self, *shape: int, finite: bool = True) -> None:
        self.shape = shape
        self._finite = finite

    def isfinite(self) -> Any:
        return SimpleNamespace(all=lambda: self._finite)


def weights(a: Any, b: Any, rank: int = 8) -> Any:
    return SimpleNamespace(lora_a=a, lora_b=b, rank=rank)


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("o_proj", weights(Values(8, 64), Values(64, 8)), ""),
        ("v_proj", weights(Values(8, 64), Values(32, 8)), ""),
        ("elsewhere", weights(Values(8, 9), Values(9, 8)), ""),
        ("x.experts", weights(Values(128, 64), Values(64, 128)), ""),
        ("o_proj", weights([Values(8, 64)], [None]), ""),
        ("o_proj", weights(Values(8, 64), None), "o_proj has no lora_B"),
        ("v_proj", weights(None, Values(32, 8)), "v_proj has no lora_A"),
        ("o_proj", weights(Values(8, 64), Values(32, 8)), "32 outputs .* has 64 and 64"),
        ("v_proj", weights(Values(8, 64), Values(64, 8)), "64 outputs .* has 64 and 32"),
        ("o_proj", weights(Values(8, 32), Values(64, 8)), "32 inputs"),
        ("in_proj", weights(Values(8, 64), Values(96, 8)), ""),
        ("in_proj", weights(Values(8, 64), Values(32, 8)), "32 outputs .* has 64 and 96"),
        ("o_proj", weights(Values(8, 64), Values(64, 8), rank=4), "rank 8 .* says rank 4"),
        ("o_proj", weights(Values(8, 64), Values(64, 8, finite=False)), "not finite"),
        ("", None, "no LoRA tensors"),
    ],
)
def test_tensors_are_checked(name: str, given: Any, says: str) -> None:
    def layer(*outputs: int) -> Any:
        return SimpleNamespace(
            tp_size=1,
            output_slices=outputs,
            lora_a_stacked=[Values(2, 1, 8, 64) for _ in outputs],
            lora_b_stacked=[Values(2, 1, count, 8) for count in outputs],
        )

    class LoRAModelManager:
        modules: ClassVar = {
            "o_proj": layer(64),
            "qkv_proj": layer(64, 32, 32),
            "in_proj": layer(32, 32, 32),
        }
        packed_modules: ClassVar = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}

        def _add_adapter(self, lora: Any) -> str:
            return "added"

    module = patched(adapter_tensors.PATCH, "m", LoRAModelManager=LoRAModelManager)
    lora = SimpleNamespace(loras={name: given} if given else {}, modules_to_save={})
    if says:
        with pytest.raises(ValueError, match=says):
            module.LoRAModelManager()._add_adapter(lora)
    else:
        assert module.LoRAModelManager()._add_adapter(lora) == "added"
