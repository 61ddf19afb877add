"""Llama 4's module groups as data: their PEFT module paths, and what vLLM wraps them as.

transformers and vLLM use the same paths, so that a PEFT key `base_model.model.<path>.lora_A.weight`
maps one to one. The router and the routed experts are in no group: the experts are one parameter,
not Linear modules (transformers' `Llama4TextExperts`), and vLLM on a CPU wraps neither.
"""

from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    PROMPT,
    TOWER,
    ModuleGroup,
    by_name,
    siblings,
)

_TEXT_LAYER = r"language_model\.model\.layers\.\d+"
_VISION = "vision_model.model.layers.*"
_TEXT = "language_model.model.layers.*"

LANGUAGE_ATTENTION = f"{_TEXT}.self_attn.?_proj"
"""The part of `language-model` that is not its MLP."""

ROLES = (
    ("vision_model.vision_adapter.", CONNECTOR),
    ("multi_modal_projector.", CONNECTOR),
    ("vision_model.", TOWER),
    ("language_model.", LANGUAGE),
)
"""Prefix → role, the longest first: the vision adapter lies under the tower's prefix."""

GROUPS = by_name(
    siblings("tower-attention", f"{_VISION}.self_attn", [f"{p}_proj" for p in "qkvo"], "?_proj"),
    siblings("tower-mlp", f"{_VISION}.mlp", ("fc1", "fc2"), "fc?"),
    # Rows before the class token is added: 576 a chunk on Scout, not 577.
    ModuleGroup(
        name="patch-embedding",
        pattern=r"vision_model\.patch_embedding\.linear",
        role=TOWER,
        rows="patch",
        target="vision_model.patch_embedding.linear",
        unwrapped="not among --lora-target-modules",
    ),
    # Under the tower's prefix, but a connector: the longest matching prefix must win.
    siblings(
        "vision-adapter",
        "vision_model.vision_adapter.mlp",
        ("fc1", "fc2"),
        "fc?",
        role=CONNECTOR,
        rows="connector",
    ),
    ModuleGroup(
        name="projector",
        pattern=r"multi_modal_projector\.linear_1",
        role=CONNECTOR,
        rows="connector",
        target="multi_modal_projector.linear_1",
    ),
    ModuleGroup(
        name="language-model",
        pattern=rf"{_TEXT_LAYER}\.(self_attn\.[qkvo]_proj"
        r"|feed_forward\.(shared_expert\.)?(gate|up|down)_proj)",
        role=LANGUAGE,
        rows=PROMPT,
        target=f"{_TEXT}.*_proj",
        projections={
            **{f"language-{p}_proj": f"{_TEXT}.self_attn.{p}_proj" for p in "qkvo"},
            # The shared expert of a MoE layer and, on Maverick, the dense MLP of those between.
            **{
                f"language-{p}_proj": f"{_TEXT}.feed_forward.*{p}_proj"
                for p in ("gate", "up", "down")
            },
        },
    ),
)


def projection(name: str) -> str:
    """The glob of one projection."""
    return next(g.projections[name] for g in GROUPS.values() if name in g.projections)
