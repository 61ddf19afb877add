"""PaliGemma's own patches: seeded mistakes in its hooks that the row checks must find."""

from typing import Any

from ...mutants.mapping import MISCOUNTED, MISPLACED, held_by_tower, miscount
from ...registry import mutant
from ..llava.hooks import Rows, class_token_everywhere

OWNER = "vllm.model_executor.models.paligemma:PaliGemmaForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"


def tower_as_pooled(model: Any, tower: int, connector: int) -> Rows:
    """The tower is counted a quarter of its rows, as if 2 × 2 patches were one."""
    return tower // 4, connector


def projector_as_pooled(model: Any, tower: int, connector: int) -> Rows:
    """The projector is counted a quarter of its rows."""
    return tower, connector // 4


PATCHES = (
    *(
        mutant(
            f"paligemma-{name}",
            {HOOK: miscount(mistake)},
            reason,
            versions=">=0.32",
            kills=MISCOUNTED,
            families=("paligemma",),
        )
        for name, mistake, reason in (
            ("class-token-everywhere", class_token_everywhere, "a class token where there is none"),
            ("tower-as-pooled", tower_as_pooled, "a quarter of the tower's rows"),
            ("projector-as-pooled", projector_as_pooled, "a quarter of the projector's rows"),
        )
    ),
    mutant(
        "paligemma-projector-under-tower",
        {f"{OWNER}.get_mm_mapping": held_by_tower},
        "projector held by the tower",
        versions=">=0.32",
        kills=MISPLACED,
        families=("paligemma",),
        needs_restart=True,
    ),
)
