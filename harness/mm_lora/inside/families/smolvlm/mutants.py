"""Mutants: seeded mistakes in Idefics3's count hook, which the row checks must find."""

from typing import Any

from ...mutants.mapping import miscount
from ...registry import mutant

HOOK = (
    "vllm.model_executor.models.idefics3:Idefics3ForConditionalGeneration.get_mm_lora_token_counts"
)


def scale_not_squared(model: Any, tower: int, connector: int) -> tuple[int, int]:
    """9 becomes 3 tower rows a connector row on SmolVLM."""
    return connector * model.config.scale_factor, connector


def whole_picture_lost(model: Any, tower: int, connector: int) -> tuple[int, int]:
    """The tile that shows the whole picture is not counted."""
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    tile = patches // model.config.scale_factor**2
    return max(tower - patches, patches), max(connector - tile, tile)


PATCHES = tuple(
    mutant(name, {HOOK: miscount(mistake)}, reason, versions=">=0.30")
    for name, mistake, reason in (
        ("scale-not-squared", scale_not_squared, "tower rows by scale, not scale²"),
        ("whole-picture-lost", whole_picture_lost, "the global tile is not counted"),
    )
)
