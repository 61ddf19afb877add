"""The module groups. The towers' layers are wrapped: PEFT adapts the linear layer within."""

import re
from collections.abc import Mapping, Sequence

from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    PROMPT,
    TOWER,
    ModuleGroup,
    by_name,
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


def _single(name: str, path: str, role: str, rows: str) -> ModuleGroup:
    return ModuleGroup(name=name, pattern=re.escape(path), role=role, rows=rows, target=path)


_OF_ALL_LAYERS = "per_layer_model_projection"
_PER_LAYER = ("per_layer_input_gate", "per_layer_projection")

GROUPS: Mapping[str, ModuleGroup] = by_name(
    _clipped("tower-attention", f"{VISION}.self_attn", [f"{end}_proj" for end in "qkvo"]),
    _clipped("tower-mlp", f"{VISION}.mlp", ["gate_proj", "up_proj", "down_proj"]),
    # A linear layer, to which the pixels of a patch are given as one row.
    _single("patch-embedding", "model.vision_tower.patch_embedder.input_proj", TOWER, "encoder"),
    _single("projector", "model.embed_vision.embedding_projection", CONNECTOR, "connector"),
    language_model(TEXT),
    # Only the small models have them: what each token adds to each layer by itself.
    ModuleGroup(
        name="language-per-layer",
        pattern=rf"model\.language_model\.(layers\.\d+\.({'|'.join(_PER_LAYER)})|{_OF_ALL_LAYERS})",
        role=LANGUAGE,
        rows=PROMPT,
        target="model.language_model.*per_layer_*",
        projections={
            **{f"language-{end}": f"{TEXT}.{end}" for end in _PER_LAYER},
            f"language-{_OF_ALL_LAYERS}": f"model.language_model.{_OF_ALL_LAYERS}",
        },
    ),
)
