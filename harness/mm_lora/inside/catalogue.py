"""All patches, in the order in which they are applied; a new one is added here."""

from . import (
    adapter_files,
    adapter_tensors,
    adapter_versions,
    bad_adapter_status,
    base_rows,
    failed_load,
    kv_zeroing,
    life_mutants,
    load_in_place,
    moe_experts,
    mutants,
    peft_type,
    resolver_config,
    resolver_root,
    silent_rows,
    target_modules,
    tenant_mutants,
    unapplied,
)
from .llama4 import data_encoder, patch_rows, picture_mutants, qk_lora, tower_lora, unfold
from .llama4 import mutants as count_mutants
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    unfold.PATCH,
    moe_experts.PATCH,
    target_modules.PATCH,
    tower_lora.PATCH,
    qk_lora.PATCH,
    unapplied.PATCH,
    adapter_tensors.PATCH,
    peft_type.PATCH,
    failed_load.PATCH,
    load_in_place.PATCH,
    adapter_versions.PATCH,
    bad_adapter_status.PATCH,
    adapter_files.PATCH,
    resolver_root.PATCH,
    resolver_config.PATCH,
    kv_zeroing.PATCH,
    base_rows.PATCH,
    patch_rows.PATCH,
    *data_encoder.PATCHES,
    *mutants.PATCHES,
    *count_mutants.PATCHES,
    *picture_mutants.PATCHES,
    *tenant_mutants.PATCHES,
    *silent_rows.PATCHES,
    *life_mutants.PATCHES,
)
