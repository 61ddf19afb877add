"""Fixes: LoRA layers that fit GLM-4.1V's tower. Mutants: mistakes in its hooks."""

from ...mutants.mapping import miscounted, misplaced, under_tower
from ...packed_entries import CREATE, NEEDED, in_parts
from ...registry import Patch
from ..qwen.mutants import merge_forgotten, merge_not_squared, merger_unmerged, miscount

CLASS = "vllm.model_executor.models.glm4_1v:Glm4vForConditionalGeneration"
COUNTS = f"{CLASS}.get_mm_lora_token_counts"
MAPPING = f"{CLASS}.get_mm_mapping"

PATCHES = (
    Patch(
        id="glm-tower-gate-up",
        kind="fix",
        versions=">=0.32",
        needs=NEEDED,
        wraps={
            CREATE: in_parts(
                "gate_up_proj",
                ("gate_proj", "up_proj"),
                below="visual.",
                model=CLASS.partition(":")[2],
            )
        },
        reason="gate and up are one module in the language model's files, two in the tower's and "
        "the merger's; the class lists the first for all, and every adapter with the others is "
        "refused",
    ),
    *(
        miscounted(f"glm-{name}", COUNTS, miscount(mistake), reason, ("glm-4.1v",))
        for name, mistake, reason in (
            ("merge-forgotten", merge_forgotten, "tower rows as many as tokens"),
            ("merge-not-squared", merge_not_squared, "tower rows by merge, not merge²"),
            ("merger-unmerged", merger_unmerged, "merger counted the tower's rows"),
        )
    ),
    misplaced(
        "glm-merger-under-tower",
        MAPPING,
        under_tower(MAPPING, "visual.merger."),
        "merger held by the tower",
        ("glm-4.1v",),
    ),
)
