"""All patches, in the order in which they are applied; a new one is added here."""

from . import moe_experts
from .llama4 import mutants, qk_lora, unfold
from .registry import Patch

PATCHES: tuple[Patch, ...] = (
    unfold.PATCH,
    moe_experts.PATCH,
    qk_lora.PATCH,
    *mutants.PATCHES,
)
