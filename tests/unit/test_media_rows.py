"""The fix for steps with several media maps each stretch by itself, on a stand-in for vLLM."""

from dataclasses import dataclass
from itertools import groupby
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mm_lora.inside.fixes import media_rows

ROWS = {"image": (8, 2), "video": (12, 3)}


@dataclass(frozen=True)
class Mapping:
    index_mapping: tuple[int, ...]
    prompt_mapping: tuple[int, ...]
    kind: str


class Manager:
    def __init__(self) -> None:
        self.mapped: dict[str, list[int]] = {}

    def supports_tower_connector_lora(self) -> bool:
        return True

    def set_active_adapters(self, adapters: Any, mapping: Mapping) -> None:
        self.mapped[mapping.kind] = list(mapping.index_mapping)


class Model:
    def get_mm_lora_token_counts(self, *, modality: str) -> tuple[int, int]:
        return ROWS[modality]


def runner_module() -> ModuleType:
    """As vLLM does it: one mapping for the step, one run of the encoder for each stretch."""
    module = ModuleType("runner")

    def group_and_batch_mm_kwargs(media: Any, **_: Any) -> Any:
        for medium, stretch in groupby(media, key=lambda one: one[0]):
            yield medium, len(list(stretch)), None

    class GPUModelRunner:
        lora_config: Any = SimpleNamespace()

        def __init__(self) -> None:
            self.lora_manager, self.model = Manager(), Model()
            self.seen: list[Any] = []

        def _execute_mm_encoder(self, step: list[tuple[str, int]]) -> None:
            counts = [self.model.get_mm_lora_token_counts(modality=name) for name, _ in step]
            slots = tuple(slot for _, slot in step)
            for kind, name in enumerate(("tower", "connector")):
                pairs = zip(slots, counts, strict=True)
                rows = tuple(slot for slot, count in pairs for _ in range(count[kind]))
                mapping = Mapping(rows, slots, name)
                self.lora_manager.set_active_adapters({1}, mapping)
            for medium, count, _ in module.group_and_batch_mm_kwargs(step):
                mapped = self.lora_manager.mapped
                self.seen.append((medium, count, mapped["tower"], mapped["connector"]))

    module.group_and_batch_mm_kwargs = group_and_batch_mm_kwargs  # type: ignore[attr-defined]
    module.GPUModelRunner = GPUModelRunner  # type: ignore[attr-defined]
    media_rows.PATCH.apply(module)
    return module


def test_each_stretch_gets_its_own_rows() -> None:
    runner = runner_module().GPUModelRunner()
    runner._execute_mm_encoder([("image", 1), ("image", 2), ("video", 3), ("image", 0)])
    assert runner.seen == [
        ("image", 2, [1] * 8 + [2] * 8, [1, 1, 2, 2]),
        ("video", 1, [3] * 12, [3, 3, 3]),
        ("image", 1, [0] * 8, [0, 0]),
    ]


def test_one_medium_is_mapped_as_before() -> None:
    runner = runner_module().GPUModelRunner()
    runner._execute_mm_encoder([("video", 1), ("video", 2)])
    assert runner.seen == [("video", 2, [1] * 12 + [2] * 12, [1, 1, 1, 2, 2, 2])]


def test_nothing_is_left_behind() -> None:
    runner = runner_module().GPUModelRunner()
    with pytest.raises(KeyError):
        runner._execute_mm_encoder([("sound", 1)])
    assert "get_mm_lora_token_counts" not in vars(runner.model)
    assert "set_active_adapters" not in vars(runner.lora_manager)


def test_a_server_without_adapters_is_left_alone() -> None:
    runner = runner_module().GPUModelRunner()
    runner.lora_config = None
    runner._execute_mm_encoder([("image", 1), ("video", 2)])
    assert [tower for _, _, tower, _ in runner.seen] == [[1] * 8 + [2] * 12] * 2
