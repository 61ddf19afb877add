"""Mutants: seeded mistakes in Idefics3's count hook, which the row checks must find."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ...hooks import replace
from ...registry import mutant

MODULE = "vllm.model_executor.models.idefics3"
HOOK = "Idefics3ForConditionalGeneration.get_mm_lora_token_counts"

Mistake = Callable[[Any, int, int], tuple[int, int]]
"""(model, right tower rows, right connector rows) → what the mistaken hook answers."""


def scale_not_squared(model: Any, tower: int, connector: int) -> tuple[int, int]:
    """9 becomes 3 tower rows a connector row on SmolVLM."""
    return connector * model.config.scale_factor, connector


def whole_picture_lost(model: Any, tower: int, connector: int) -> tuple[int, int]:
    """The tile that shows the whole picture is not counted."""
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    tile = patches // model.config.scale_factor**2
    return max(tower - patches, patches), max(connector - tile, tile)


def miscount(mistake: Mistake) -> Callable[[ModuleType], None]:
    """The action that puts `mistake` into the hook."""

    def make(original: Any) -> Any:
        def get_mm_lora_token_counts(self: Any, **asked: Any) -> tuple[int, int]:
            return mistake(self, *original(self, **asked))

        return get_mm_lora_token_counts

    return lambda module: replace(module, HOOK, make)


PATCHES = (
    mutant(
        "scale-not-squared",
        MODULE,
        miscount(scale_not_squared),
        "tower rows by scale, not scale²",
        ">=0.30",
    ),
    mutant(
        "whole-picture-lost",
        MODULE,
        miscount(whole_picture_lost),
        "the global tile is not counted",
        ">=0.30",
    ),
)
