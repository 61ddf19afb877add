"""Gemma 3's count hook and names: two fixes, and seeded mistakes that the row checks must find."""

from typing import Any

from ...mutants.mapping import miscount, miscounted
from ...registry import Patch
from ..llava.hooks import tower_names

OWNER = "vllm.model_executor.models.gemma3_mm:Gemma3ForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def averaged(model: Any) -> int:
    """How many patches become one placeholder: 16 on the published models."""
    vision = model.config.vision_config
    side: int = vision.image_size // vision.patch_size
    return side**2 // int(model.config.mm_tokens_per_image)


def _behind_pooling(original: Any) -> Any:
    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        embeds: int = given["num_mm_embeds"]
        return embeds * averaged(self), embeds

    return get_mm_lora_token_counts


def pooling_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted a row for each placeholder."""
    return tower // averaged(model), connector


def pooling_not_squared(model: Any, tower: int, connector: int) -> Rows:
    """4 rows of the tower a placeholder, not 4²."""
    return tower // round(averaged(model) ** 0.5), connector


PATCHES = (
    Patch(
        id="gemma3-connector-rows",
        kind="fix",
        versions=">=0.32",
        wraps={HOOK: _behind_pooling},
        reason="the connector averages the tower's rows before it projects them: the projection "
        "sees as many as there are placeholders, the hook says 16 times as many",
        upstream=("32764",),
    ),
    tower_names("gemma3", OWNER),
    miscounted(
        "gemma3-pooling-forgotten",
        HOOK,
        miscount(pooling_forgotten),
        "tower rows as many as placeholders",
        ("gemma3",),
    ),
    miscounted(
        "gemma3-pooling-not-squared",
        HOOK,
        miscount(pooling_not_squared),
        "tower rows by the side of a square of patches, not its area",
        ("gemma3",),
    ),
)
