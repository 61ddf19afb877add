"""LLaVA's count hook and names: two fixes, and seeded mistakes that the row checks must find."""

import dataclasses
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from ...mutants.mapping import held_by_tower, miscount, miscounted, misplaced
from ...registry import Patch

OWNER = "vllm.model_executor.models.llava:LlavaForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"
OWN = ("llava", "llava-siglip", "llava-pixtral")
RENAMED = {"model.vision_tower.encoder.": "vision_tower.vision_model.encoder."}
"""As transformers names the layers of a CLIP or SigLIP tower since 5.6 → as vLLM does."""

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def patches(model: Any) -> int:
    """Patches of a picture, where each picture is one square."""
    vision = model.config.vision_config
    side: int = vision.image_size // vision.patch_size
    return side * side


def has_dropped_token(model: Any) -> bool:
    """Whether the tower sees a class token that is no placeholder."""
    config = model.config
    clip = config.vision_config.model_type == "clip_vision_model"
    return bool(clip and config.vision_feature_select_strategy == "default")


def with_class_tokens(original: Any) -> Any:
    """For the count hook: a class token more for each picture or frame, where the tower has one."""

    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        tower, connector = original(self, **given)
        if has_dropped_token(self) and tower > 0:
            # Rounded up for the budget of all pictures, which need not be whole ones.
            tower += -(-tower // patches(self))
        return tower, connector

    return get_mm_lora_token_counts


def tower_names(family: str, owner: str, renamed: Mapping[str, str] = RENAMED) -> Patch:
    """The fix that lets the class `owner` of a family know the tower's newest names too."""

    def other_names(module: ModuleType) -> None:
        model: Any = getattr(module, owner.partition(":")[2])
        mapper = model.hf_to_vllm_mapper
        # Before the tower's own prefix, which would fit too.
        prefixes = {**renamed, **mapper.orig_to_new_prefix}
        model.hf_to_vllm_mapper = dataclasses.replace(mapper, orig_to_new_prefix=prefixes)

    return Patch(
        id=f"{family}-tower-names",
        kind="fix",
        versions=">=0.32",
        needs=(f"{owner}.hf_to_vllm_mapper",),
        adds=other_names,
        reason="adapters that were trained with transformers 5.6 or newer name the tower's layers "
        "without `vision_model`, under which vLLM alone looks",
    )


def class_token_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted a row for each placeholder: vLLM's own mistake, for a mended one."""
    return connector, connector


def class_token_everywhere(model: Any, tower: int, connector: int) -> Rows:
    """A class token for each picture, in the projector too and whether the tower has one or not."""
    rows = connector + -(-connector // patches(model))
    return rows, rows


MISCOUNTS = (
    ("class-token-forgotten", class_token_forgotten, "no tower row for the class token"),
    ("class-token-everywhere", class_token_everywhere, "a class token for tower and projector"),
)

PATCHES = (
    Patch(
        id="llava-class-token-rows",
        kind="fix",
        versions=">=0.32",
        wraps={HOOK: with_class_tokens},
        reason="a CLIP tower sees a class token more for each picture than there are placeholders",
    ),
    tower_names("llava", OWNER),
    *(
        miscounted(f"llava-{name}", HOOK, miscount(mistake), reason, OWN)
        for name, mistake, reason in MISCOUNTS
    ),
    misplaced(
        "llava-projector-under-tower",
        f"{OWNER}.get_mm_mapping",
        held_by_tower,
        "projector held by the tower",
        OWN,
    ),
)
