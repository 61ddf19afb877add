"""All patches, in the order in which they are applied; a new one is added here."""

from . import bad_adapter_status, moe_experts, unapplied
from .llama4 import mutants, patch_rows, qk_lora, unfold
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    unfold.PATCH,
    moe_experts.PATCH,
    qk_lora.PATCH,
    unapplied.PATCH,
    bad_adapter_status.PATCH,
    patch_rows.PATCH,
    *mutants.PATCHES,
)
