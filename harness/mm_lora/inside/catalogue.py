"""All patches, in the order in which they are applied; a new one is added here."""

from . import (
    bad_adapter_status,
    base_rows,
    moe_experts,
    mutants,
    one_layer_one_name,
    peft_patterns,
    target_modules,
    tenant_mutants,
    unapplied,
)
from .llama4 import mutants as count_mutants
from .llama4 import patch_rows, picture_mutants, qk_lora, router_weight, tower_lora, unfold
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    unfold.PATCH,
    moe_experts.PATCH,
    router_weight.PATCH,
    target_modules.PATCH,
    tower_lora.PATCH,
    qk_lora.PATCH,
    one_layer_one_name.PATCH,
    peft_patterns.PATCH,
    unapplied.PATCH,
    bad_adapter_status.PATCH,
    base_rows.PATCH,
    patch_rows.PATCH,
    *mutants.PATCHES,
    *count_mutants.PATCHES,
    *picture_mutants.PATCHES,
    *tenant_mutants.PATCHES,
)
