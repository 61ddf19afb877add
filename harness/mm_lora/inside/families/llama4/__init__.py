"""Llama 4's own patches."""

from . import (
    data_encoder,
    mutants,
    patch_rows,
    picture_mutants,
    qk_lora,
    router_weight,
    tower_lora,
    unfold,
)

PATCHES = (
    unfold.PATCH,
    router_weight.PATCH,
    tower_lora.PATCH,
    qk_lora.PATCH,
    patch_rows.PATCH,
    *data_encoder.PATCHES,
    *mutants.PATCHES,
    *picture_mutants.PATCHES,
)
