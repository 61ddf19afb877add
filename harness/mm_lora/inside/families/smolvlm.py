"""Mutants: seeded mistakes in Idefics3's LoRA hooks, which the row checks must find."""

from typing import Any

from ..mutants.mapping import connector_as_tower, held_by_tower, miscount, miscounted, misplaced

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


PATCHES = (
    *(
        miscounted(name, COUNTS, miscount(mistake), reason, ("smolvlm",), ">=0.30")
        for name, mistake, reason in (
            ("scale-not-squared", scale_not_squared, "tower rows by scale, not scale²"),
            ("whole-picture-lost", whole_picture_lost, "the global tile is not counted"),
            (
                "idefics3-connector-as-tower",
                connector_as_tower,
                "connector counted the tower's rows",
            ),
        )
    ),
    misplaced(
        "idefics3-connector-under-tower",
        MAPPING,
        held_by_tower,
        "connector held by the tower",
        ("smolvlm",),
        ">=0.30",
    ),
)
