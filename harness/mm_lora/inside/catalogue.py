"""All patches, in the order in which they are applied; a new one is added here."""

from . import (
    families,
    model_info,
    moe_experts,
    parts_without_architecture,
    short_waits,
    silent_rows,
    target_modules,
)
from .fixes import (
    adapter_files,
    adapter_slots,
    adapter_tensors,
    adapter_versions,
    bad_adapter_status,
    base_rows,
    data_encoder_rows,
    default_names,
    failed_load,
    kv_zeroing,
    load_in_place,
    media_rows,
    names_of_layers,
    one_layer_one_name,
    patch_positions,
    peft_patterns,
    peft_type,
    picture_attention,
    resolver_config,
    resolver_root,
    rope_heads,
    rpc_replies,
    unapplied,
    video_processor_name,
)
from .mutants import features as feature_mutants
from .mutants import kernels as mutants
from .mutants import life as life_mutants
from .mutants import ranks as rank_mutants
from .mutants import refusal as refusal_mutants
from .mutants import states as state_mutants
from .mutants import tenants as tenant_mutants
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    short_waits.PATCH,
    model_info.PATCH,
    moe_experts.PATCH,
    parts_without_architecture.PATCH,
    target_modules.PATCH,
    one_layer_one_name.PATCH,
    patch_positions.PATCH,
    peft_patterns.PATCH,
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
    adapter_slots.PATCH,
    base_rows.PATCH,
    picture_attention.PATCH,
    rope_heads.PATCH,
    data_encoder_rows.PATCH,
    media_rows.PATCH,
    rpc_replies.PATCH,
    default_names.PATCH,
    video_processor_name.PATCH,
    names_of_layers.PATCH,
    *families.PATCHES,
    *mutants.PATCHES,
    *tenant_mutants.PATCHES,
    *silent_rows.PATCHES,
    *life_mutants.PATCHES,
    *refusal_mutants.PATCHES,
    *rank_mutants.PATCHES,
    *state_mutants.PATCHES,
    *feature_mutants.PATCHES,
)
