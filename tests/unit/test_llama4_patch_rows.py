"""The fix that maps patch-embedding rows: a wrapper of its own, right rows, named hook points."""

import enum
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mm_lora.inside.families.llama4.patch_rows import PATCH, without_class_tokens
from mm_lora.inside.hooks import HookGone


class Kind(enum.Enum):
    LANGUAGE = 1
    TOWER = 2


@dataclass
class Mapping:
    index_mapping: tuple[int, ...]
    type: Kind


class Wrapper:
    def __init__(self) -> None:
        self.maps: list[tuple[int, ...]] = []

    def update_metadata(self, mapping: Mapping, *rest: Any) -> None:
        self.maps.append(mapping.index_mapping)


class Llama4ForConditionalGeneration:
    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=28, patch_size=14))


def patched(model: Any, prefix: str = "vision_model.") -> Any:
    class LoRAModelManager:
        lora_index_to_id, lora_slots, vocab_size = (None,), 1, 8

        def __init__(self) -> None:
            self.model = model
            self.punica_wrapper_mapping: dict[str, Wrapper] = {}
            self._maybe_init_mm()

        def _maybe_init_mm(self) -> None:
            self.punica_wrapper_mapping[prefix] = Wrapper()

        def _set_adapter_mapping(self, mapping: Mapping) -> None:
            self.punica_wrapper_mapping[prefix].update_metadata(mapping)

    module = ModuleType("vllm.lora.model_manager")
    module.LoRAModelManager = LoRAModelManager  # type: ignore[attr-defined]
    PATCH.apply(module)
    return LoRAModelManager()


def test_rows() -> None:
    # Two chunks of one adapter, one of another: 2 × 2 patches and a class token each.
    assert without_class_tokens((1,) * 10 + (2,) * 5, 4) == (1,) * 8 + (2,) * 4
    assert without_class_tokens((), 4) == ()


def test_the_patch_embedding_has_a_wrapper_of_its_own() -> None:
    manager = patched(Llama4ForConditionalGeneration())
    manager._set_adapter_mapping(Mapping((1,) * 5 + (2,) * 5, Kind.TOWER))
    manager._set_adapter_mapping(Mapping((1, 1, 1), Kind.LANGUAGE))
    wrappers = manager.punica_wrapper_mapping
    assert wrappers["vision_model.patch_embedding."].maps == [(1,) * 4 + (2,) * 4]
    assert wrappers["vision_model."].maps == [(1,) * 5 + (2,) * 5, (1, 1, 1)]


@pytest.mark.parametrize(
    ("model", "prefix"),
    [(SimpleNamespace(), "vision_model."), (Llama4ForConditionalGeneration(), "language_model")],
)
def test_other_models_and_servers_without_tower_lora_are_left_alone(
    model: Any, prefix: str
) -> None:
    manager = patched(model, prefix)
    manager._set_adapter_mapping(Mapping((1,), Kind.TOWER))
    assert list(manager.punica_wrapper_mapping) == [prefix]


def test_a_lost_hook_point_is_an_error_by_name() -> None:
    module = ModuleType("vllm.lora.model_manager")
    with pytest.raises(HookGone, match="LoRAModelManager"):
        PATCH.apply(module)
