"""The feature patch, on stand-ins for both generations of vLLM's class."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mm_lora.families import registry
from mm_lora.families.llama4.geometry import Geometry, token_flow
from mm_lora.families.models import resolve
from mm_lora.inside.families.llama4.tower_lora import PATCH
from mm_lora.inside.hooks import HookGone


class Keys:
    @staticmethod
    def from_string_field(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)


def patched(geometry: Geometry, flag: bool) -> Any:
    vision = SimpleNamespace(
        image_size=geometry.image_size,
        patch_size=geometry.patch_size,
        pixel_shuffle_ratio=geometry.pixel_shuffle_ratio,
    )
    members: dict[str, Any] = {"config": SimpleNamespace(vision_config=vision)}
    if flag:
        members["supports_tower_connector_lora"] = False
    module = ModuleType("mllama4")
    module.MultiModelKeys = Keys  # type: ignore[attr-defined]
    made = type("Llama4ForConditionalGeneration", (), members)
    module.Llama4ForConditionalGeneration = made  # type: ignore[attr-defined]
    PATCH.apply(module)
    return made()


@pytest.mark.parametrize("name", registry.family("llama4").published)
def test_counts_are_the_arithmetics_in_both_generations(name: str) -> None:
    geometry = resolve(name).layout
    old, new = patched(geometry, flag=False), patched(geometry, flag=True)
    for width, height in ((336, 336), (700, 400), (5376, 336)):
        flow = token_flow(geometry, width, height)
        tower = old.get_num_mm_encoder_tokens(flow.image_tokens)
        rows = tower, old.get_num_mm_connector_tokens(tower)
        assert rows == (flow.encoder_rows, flow.connector_rows)
        asked = {"modality": "image", "mm_kwargs": None, "num_mm_embeds": flow.image_tokens}
        assert new.get_mm_lora_token_counts(**asked) == rows
    assert new.supports_tower_connector_lora is True
    assert not hasattr(old, "get_mm_lora_token_counts")


def test_no_picture_has_no_rows() -> None:
    model = patched(resolve("scout").layout, flag=False)
    assert model.get_num_mm_encoder_tokens(0) == model.get_num_mm_encoder_tokens(-144) == 0


def test_the_vision_adapter_is_a_connectors() -> None:
    mapping = patched(resolve("scout").layout, flag=False).get_mm_mapping()
    assert mapping.connector == ["multi_modal_projector.", "vision_model.vision_adapter."]
    assert mapping.tower_model == "vision_model."


def test_a_missing_class_is_a_hook_that_is_gone() -> None:
    with pytest.raises(HookGone):
        PATCH.apply(ModuleType("mllama4"))
