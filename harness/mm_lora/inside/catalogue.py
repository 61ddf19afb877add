"""All patches, in the order in which they are applied; a new one is added here."""

from . import (
    bad_adapter_status,
    base_rows,
    moe_experts,
    mutants,
    rpc_replies,
    tenant_mutants,
    unapplied,
)
from .llama4 import data_encoder, patch_rows, picture_mutants, qk_lora, unfold
from .llama4 import mutants as count_mutants
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    unfold.PATCH,
    moe_experts.PATCH,
    qk_lora.PATCH,
    unapplied.PATCH,
    bad_adapter_status.PATCH,
    base_rows.PATCH,
    rpc_replies.PATCH,
    patch_rows.PATCH,
    *data_encoder.PATCHES,
    *mutants.PATCHES,
    *count_mutants.PATCHES,
    *picture_mutants.PATCHES,
    *tenant_mutants.PATCHES,
)
