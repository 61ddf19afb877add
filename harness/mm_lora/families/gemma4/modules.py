"""The module groups. The towers' layers are wrapped: PEFT adapts the linear layer within."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mm_lora.families.modules import (
    CONNECTOR,
    TOWER,
    ModuleGroup,
    by_name,
    either,
    language_model,
)

VISION = "model.vision_tower.encoder.layers.*"
TEXT = "model.language_model.layers.*"
INNER = "linear"
"""The layer that a clipped projection holds."""


def _clipped(name: str, at: str, ends: Sequence[str]) -> ModuleGroup:
    """A group of the tower's projections, each called by its own name, not the layer's within."""
    parent = re.escape(at).replace(r"\*", r"\d+")
    return ModuleGroup(
        name=name,
        pattern=rf"{parent}\.({'|'.join(ends)})\.{INNER}",
        role=TOWER,
        rows="encoder",
        target=f"{at}.*.{INNER}",
        projections={f"tower-{end}": f"{at}.{end}.{INNER}" for end in ends},
    )


def single(name: str, path: str, role: str, rows: str) -> ModuleGroup:
    """A group of the one module at `path`."""
    return ModuleGroup(name=name, pattern=re.escape(path), role=role, rows=rows, target=path)


_USUAL = language_model(TEXT)
_PER_LAYER = r"(layers\.\d+\.per_layer_(input_gate|projection)|per_layer_model_projection)"
LANGUAGE_MODEL = replace(
    # What each token adds to each layer by itself is in the small models alone.
    _USUAL,
    pattern=either([_USUAL.pattern, rf"model\.language_model\.{_PER_LAYER}"]),
)

GROUPS: Mapping[str, ModuleGroup] = by_name(
    _clipped("tower-attention", f"{VISION}.self_attn", [f"{end}_proj" for end in "qkvo"]),
    _clipped("tower-mlp", f"{VISION}.mlp", ["gate_proj", "up_proj", "down_proj"]),
    # A linear layer, to which the pixels of a patch are given as one row.
    single("patch-embedding", "model.vision_tower.patch_embedder.input_proj", TOWER, "encoder"),
    single("projector", "model.embed_vision.embedding_projection", CONNECTOR, "connector"),
    LANGUAGE_MODEL,
)
