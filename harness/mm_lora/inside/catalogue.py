"""All patches, in the order in which they are applied; a new one is added here."""

from . import bad_adapter_status, base_rows, moe_experts, tenant_mutants, unapplied
from .llama4 import data_encoder, mutants, qk_lora, unfold
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    unfold.PATCH,
    moe_experts.PATCH,
    qk_lora.PATCH,
    unapplied.PATCH,
    bad_adapter_status.PATCH,
    base_rows.PATCH,
    *data_encoder.PATCHES,
    *mutants.PATCHES,
    *tenant_mutants.PATCHES,
)
