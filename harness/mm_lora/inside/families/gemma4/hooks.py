"""Gemma 4's count hook and prefixes: a fix, and seeded mistakes that the row checks must find."""

from typing import Any

from ...mutants.mapping import held_by_tower, miscount, miscounted, misplaced
from ...registry import Patch

OWNER = "vllm.model_executor.models.gemma4_mm:Gemma4ForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"
OWN = ("gemma4",)
MANAGER = "vllm.lora.model_manager:LoRAModelManager"
HELD = "use_clipped_linears"
"""An attribute of a tower's clipped projections alone."""
FRAME = 70
"""Placeholders of a video's frame at most."""

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def pooled(model: Any) -> int:
    """Patches that become one placeholder."""
    side: int = model.config.vision_config.pooling_kernel_size
    return side**2


def most(model: Any, modality: str) -> int:
    """Placeholders of a picture, or of a frame of a video, at most."""
    return FRAME if modality == "video" else int(model.config.vision_config.default_output_length)


def _room_for_several(original: Any) -> Any:
    def get_mm_lora_token_counts(self: Any, **given: Any) -> Rows:
        tower, connector = original(self, **given)
        modality, embeds = given["modality"], given["num_mm_embeds"]
        if given["mm_kwargs"] is not None or modality not in ("image", "video") or embeds <= 0:
            return tower, connector
        # A thin picture needs little more than half of its budget: one row of squares, where two
        # would not fit; and one square less by rounding.
        whole = most(self, modality)
        pictures = -(-embeds // (whole // 2 - 1))
        return max(tower, pictures * whole * pooled(self)), connector

    return get_mm_lora_token_counts


def _layers_alone(original: Any) -> Any:
    def _match_target_modules(self: Any, module_name: str) -> bool:
        module = self.model.get_submodule(module_name)
        # What holds a layer of vLLM's as `linear` is none itself.
        return original(self, module_name) and not hasattr(module, HELD)

    return _match_target_modules


def pooling_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted as many rows as its budget has placeholders."""
    return tower // pooled(model), connector


def filling_forgotten(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted the patches that a picture has, without those that fill it up."""
    return connector * pooled(model), connector


def placeholders_filled_up(model: Any, tower: int, connector: int) -> Rows:
    """The projector is counted the budget's placeholders, not those that are left of it."""
    return tower, tower // pooled(model)


PATCHES = (
    Patch(
        id="gemma4-room-for-pictures",
        kind="fix",
        versions=">=0.32",
        wraps={HOOK: _room_for_several},
        reason="the wrappers' buffers are sized by placeholders: for pictures the hook answers the "
        "rows of one, however many placeholders, and takes frames for larger than thin ones are",
    ),
    Patch(
        id="gemma4-target-modules",
        kind="fix",
        versions=">=0.32",
        wraps={f"{MANAGER}._match_target_modules": _layers_alone},
        reason="the towers' clipped projections are called as the language model's layers are; "
        "--lora-target-modules that name these match them too, and vLLM has no LoRA layer for them",
    ),
    *(
        miscounted(f"gemma4-{name}", HOOK, miscount(mistake), reason, OWN)
        for name, mistake, reason in (
            ("pooling-forgotten", pooling_forgotten, "a ninth of the tower's rows"),
            ("filling-forgotten", filling_forgotten, "tower rows without those that fill up"),
            ("placeholders-filled-up", placeholders_filled_up, "projector rows by the budget"),
        )
    ),
    misplaced(
        "gemma4-projector-under-tower",
        f"{OWNER}.get_mm_mapping",
        held_by_tower,
        "projector held by the tower",
        OWN,
    ),
)
