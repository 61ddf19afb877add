"""BLIP-2's module groups; the paths are the same in transformers and in vLLM."""

import re

from mm_lora.families.modules import (
    CONNECTOR,
    LANGUAGE,
    PROMPT,
    TOWER,
    ModuleGroup,
    by_name,
    siblings,
)

TOWER_LAYERS = "vision_model.encoder.layers.*"
QFORMER = "qformer.encoder.layer"
TEXT = "language_model.model.decoder.layers.*"
_SELF, _CROSS = f"{QFORMER}.*.attention", f"{QFORMER}.*.crossattention"
_DENSE = {
    "self": f"{_SELF}.output",
    "cross": f"{_CROSS}.output",
    "up": f"{QFORMER}.*.intermediate_query",
    "down": f"{QFORMER}.*.output_query",
}
"""What the names of adapters say, and where a module called `dense` is."""
_LANGUAGE = {
    **{f"{name}_proj": f"self_attn.{name}_proj" for name in "qkv"},
    "o_proj": "self_attn.out_proj",
    "fc1": "fc1",
    "fc2": "fc2",
}


def _single(name: str, path: str) -> ModuleGroup:
    return ModuleGroup(
        name=name,
        pattern=re.escape(path).replace(r"\*", r"\d+"),
        role=CONNECTOR,
        rows="connector",
        target=path,
    )


GROUPS = by_name(
    # One module for q, k and v on disk too. The patch embedding is a convolution, for which vLLM
    # has no LoRA layer: in no group.
    siblings("tower-attention", f"{TOWER_LAYERS}.self_attn", ("qkv", "projection"), "[qp]*"),
    siblings("tower-mlp", f"{TOWER_LAYERS}.mlp", ("fc1", "fc2"), "fc?"),
    # In the connector, but these read the tower's rows, not the queries'.
    siblings(
        "cross-keys", f"{_CROSS}.attention", ("key", "value"), "[kv]*", role=TOWER, prefix="cross"
    ),
    _single("cross-query", f"{_CROSS}.attention.query"),
    siblings(
        "qformer-attention",
        f"{_SELF}.attention",
        ("query", "key", "value"),
        "[qkv]*",
        role=CONNECTOR,
        rows="connector",
        prefix="qformer",
    ),
    ModuleGroup(
        name="qformer-dense",
        pattern=rf"{re.escape(QFORMER)}\.\d+\."
        r"((cross)?attention\.output|(intermediate|output)_query)\.dense",
        role=CONNECTOR,
        rows="connector",
        target=f"{QFORMER}.*.dense",
        projections={f"qformer-{name}": f"{at}.dense" for name, at in _DENSE.items()},
    ),
    _single("projection", "language_projection"),
    ModuleGroup(
        name="language-model",
        pattern=r"language_model\.model\.decoder\.layers\.\d+\."
        r"(self_attn\.(q|k|v|out)_proj|fc[12])",
        role=LANGUAGE,
        rows=PROMPT,
        # Neither the norms nor the activation beside them.
        target=f"{TEXT}[_c][p12]*",
        projections={f"language-{name}": f"{TEXT}.{path}" for name, path in _LANGUAGE.items()},
    ),
)
