"""Mutants: seeded mistakes in Idefics3's LoRA hooks, which the row checks must find."""

from typing import Any

from ..mutants.mapping import MISCOUNTED, MISPLACED, connector_as_tower, held_by_tower, miscount
from ..registry import mutant

CLASS = "vllm.model_executor.models.idefics3:Idefics3ForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"


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
    mutant(
        name,
        {point: make},
        reason,
        versions=">=0.30",
        kills=MISPLACED if point == MAPPING else MISCOUNTED,
        families=("smolvlm",),
        needs_restart=point == MAPPING,
    )
    for name, point, make, reason in (
        (
            "scale-not-squared",
            COUNTS,
            miscount(scale_not_squared),
            "tower rows by scale, not scale²",
        ),
        (
            "whole-picture-lost",
            COUNTS,
            miscount(whole_picture_lost),
            "the global tile is not counted",
        ),
        (
            "idefics3-connector-as-tower",
            COUNTS,
            miscount(connector_as_tower),
            "connector counted the tower's rows",
        ),
        ("idefics3-connector-under-tower", MAPPING, held_by_tower, "connector held by the tower"),
    )
)
