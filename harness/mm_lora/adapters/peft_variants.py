"""What PEFT can say in an adapter, each as an adapter of its own with a plain twin as its truth."""

from collections.abc import Mapping
from dataclasses import replace

from mm_lora.adapters.projections import LANGUAGE, TOWER
from mm_lora.adapters.spec import AdapterSpec
from mm_lora.families.llama4.modules import TARGETS

# Every kind of wrapper, without q and k of the language model: see known_defects.toml.
_WIDE = AdapterSpec(
    name="peft-plain",
    targets=(
        TARGETS["tower-attention"],
        TARGETS["vision-adapter"],
        TARGETS["projector"],
        LANGUAGE["language-v_proj"],
        LANGUAGE["language-down_proj"],
    ),
)

PEFT_VARIANTS: Mapping[str, AdapterSpec] = {
    spec.name: spec
    for spec in (
        _WIDE,
        replace(_WIDE, name="peft-rslora", peft=(("use_rslora", True),), alpha=6.0),
        replace(_WIDE, name="peft-alpha-below-rank", alpha=3.0),
        replace(_WIDE, name="peft-rank-pattern", peft=(("rank_pattern", {"q_proj": 2, "fc1": 4}),)),
        replace(
            _WIDE, name="peft-alpha-pattern", peft=(("alpha_pattern", {"o_proj": 5, "fc2": 40}),)
        ),
        AdapterSpec(
            name="peft-partial-layers",
            targets=(
                "vision_model.model.layers.1.self_attn.?_proj",
                "language_model.model.layers.2.self_attn.[vo]_proj",
            ),
        ),
        AdapterSpec(
            name="peft-part-of-qkv", targets=(TOWER["tower-q_proj"], TOWER["tower-v_proj"])
        ),
        replace(_WIDE, name="peft-rank-1", rank=1),
        replace(_WIDE, name="peft-rank-3", rank=3),
        replace(_WIDE, name="peft-bfloat16", dtype="bfloat16"),
        replace(_WIDE, name="peft-float16", dtype="float16"),
        # PEFT takes a list as ends of module paths: tower MLP and vision adapter at once.
        AdapterSpec(
            name="peft-target-list",
            groups=("tower-mlp", "vision-adapter"),
            peft=(("target_modules", ["fc1", "fc2"]),),
        ),
        replace(_WIDE, name="peft-sharded", form="sharded", stream=_WIDE.name),
        AdapterSpec(
            name="peft-text-class",
            targets=(LANGUAGE["language-v_proj"],),
            form="text-class",
            stream="language-v_proj",
        ),
    )
}

TWINS: Mapping[str, str] = {"peft-sharded": "peft-plain", "peft-text-class": "language-v_proj"}
"""Adapters in a form that the reference does not read → the same numbers as PEFT writes them."""
