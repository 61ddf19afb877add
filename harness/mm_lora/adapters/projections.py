"""One adapter per projection: the smallest adapter whose numbers can be right or wrong."""

from collections.abc import Mapping

from mm_lora.adapters.spec import AdapterSpec

_TOWER = "vision_model.model.layers.*"
_LANGUAGE = "language_model.model.layers.*"

TOWER = {
    **{f"tower-{p}": f"{_TOWER}.self_attn.{p}" for p in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{f"tower-{p}": f"{_TOWER}.mlp.{p}" for p in ("fc1", "fc2")},
}
CONNECTOR = {
    **{f"vision-adapter-{p}": f"vision_model.vision_adapter.mlp.{p}" for p in ("fc1", "fc2")},
}
LANGUAGE = {
    **{
        f"language-{p}": f"{_LANGUAGE}.self_attn.{p}"
        for p in ("q_proj", "k_proj", "v_proj", "o_proj")
    },
    # The shared expert of a MoE layer and, on Maverick, the dense MLP of the layers between.
    **{
        f"language-{p}": f"{_LANGUAGE}.feed_forward.*{p}"
        for p in ("gate_proj", "up_proj", "down_proj")
    },
}

PROJECTIONS: Mapping[str, AdapterSpec] = {
    name: AdapterSpec(name=name, targets=(target,))
    for name, target in {**TOWER, **CONNECTOR, **LANGUAGE}.items()
}
"""By name. The projector is one projection, so that the standard adapter `projector` is its own."""
