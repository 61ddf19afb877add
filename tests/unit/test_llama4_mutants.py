"""Each mutant makes, on a stand-in for vLLM's class, exactly the mistake that its name says."""

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from mm_lora.inside.families.llama4 import mutants
from mm_lora.inside.hooks import HookGone
from mm_lora.inside.registry import Patch

BY_ID = {patch.id: patch for patch in mutants.PATCHES}
VISION = SimpleNamespace(image_size=336, patch_size=14, pixel_shuffle_ratio=0.5)
RATIO = "mutant-ratio-not-squared"


class _Model:
    config = SimpleNamespace(vision_config=VISION)

    def get_mm_mapping(self) -> Any:
        return SimpleNamespace(
            connector=["multi_modal_projector.", "vision_model.vision_adapter."],
            tower_model=["vision_model."],
        )


def counts_module() -> ModuleType:
    class Llama4ForConditionalGeneration(_Model):
        def get_mm_lora_token_counts(
            self, *, modality: str, mm_kwargs: object, num_mm_embeds: int
        ) -> tuple[int, int]:
            chunks = max(0, num_mm_embeds) // 144
            return chunks * 577, chunks * 144

    module = ModuleType("counts")
    module.Llama4ForConditionalGeneration = Llama4ForConditionalGeneration  # type: ignore[attr-defined]
    return module


def pair_module() -> ModuleType:
    class Llama4ForConditionalGeneration(_Model):
        def get_num_mm_encoder_tokens(self, num_image_tokens: int) -> int:
            return max(0, num_image_tokens) // 144 * 577

        def get_num_mm_connector_tokens(self, num_vision_tokens: int) -> int:
            return max(0, num_vision_tokens) // 577 * 144

    module = ModuleType("pair")
    module.Llama4ForConditionalGeneration = Llama4ForConditionalGeneration  # type: ignore[attr-defined]
    return module


def counts(patch: Patch, embeds: int) -> tuple[int, int]:
    module = counts_module()
    patch.apply(module)
    model = module.Llama4ForConditionalGeneration()
    answer: tuple[int, int] = model.get_mm_lora_token_counts(
        modality="image", mm_kwargs=None, num_mm_embeds=embeds
    )
    return answer


def pair(patch: Patch, embeds: int) -> tuple[int, int]:
    module = pair_module()
    patch.apply(module)
    model = module.Llama4ForConditionalGeneration()
    tower = model.get_num_mm_encoder_tokens(embeds)
    return tower, model.get_num_mm_connector_tokens(tower)


@pytest.mark.parametrize(
    ("name", "chunks", "rows"),
    [
        ("mutant-forget-cls", 1, (576, 144)),
        ("mutant-forget-cls", 7, (4032, 1008)),
        (RATIO, 1, (577, 288)),
        (RATIO, 7, (4039, 2016)),
        ("mutant-chunk-lost", 1, (577, 144)),
        ("mutant-chunk-lost", 7, (3462, 864)),
        ("mutant-forget-cls", 0, (0, 0)),
        (RATIO, 0, (0, 0)),
    ],
)
def test_the_count_hook_is_mistaken(name: str, chunks: int, rows: tuple[int, int]) -> None:
    assert counts(BY_ID[name], 144 * chunks) == rows


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        # The older connector hook starts from the tower's rows: 4032 // 577 is 6 chunks.
        ("mutant-forget-cls", (4032, 864)),
        (RATIO, (4039, 2016)),
        ("mutant-chunk-lost", (3462, 864)),
    ],
)
def test_the_older_pair_is_mistaken(name: str, rows: tuple[int, int]) -> None:
    assert pair(BY_ID[name], 1008) == rows


def test_the_vision_adapter_loses_its_prefix() -> None:
    module = counts_module()
    BY_ID["mutant-adapter-under-tower"].apply(module)
    mapping = module.Llama4ForConditionalGeneration().get_mm_mapping()
    assert mapping.connector == ["multi_modal_projector."]


@pytest.mark.parametrize("patch", mutants.PATCHES, ids=lambda patch: patch.id)
def test_a_lost_hook_point_is_an_error_by_name(patch: Patch) -> None:
    module = ModuleType("changed")
    module.Llama4ForConditionalGeneration = type("Llama4ForConditionalGeneration", (), {})  # type: ignore[attr-defined]
    with pytest.raises(HookGone, match="get_"):
        patch.apply(module)
