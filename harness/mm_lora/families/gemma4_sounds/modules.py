"""The module groups of the audio tower, whose projections are mostly wrapped ones."""

import re
from collections.abc import Mapping

from mm_lora.families.gemma4.modules import INNER, LANGUAGE_MODEL, single
from mm_lora.families.modules import CONNECTOR, TOWER, ModuleGroup, by_name

TOWER_PATH = "model.audio_tower"
LAYER = f"{TOWER_PATH}.layers.*"


def _clipped(name: str, target: str, projections: Mapping[str, str]) -> ModuleGroup:
    """A group of clipped projections. `target`: a glob of all; `projections`: adapter → path in a
    layer, where a question mark stands for a digit."""
    inner = "|".join(re.escape(path).replace(r"\?", r"\d") for path in projections.values())
    return ModuleGroup(
        name=name,
        pattern=rf"model\.audio_tower\.layers\.\d+\.({inner})\.{INNER}",
        role=TOWER,
        rows="encoder",
        target=f"{LAYER}.{target}.{INNER}",
        projections={f"tower-{key}": f"{LAYER}.{p}.{INNER}" for key, p in projections.items()},
    )


GROUPS: Mapping[str, ModuleGroup] = by_name(
    _clipped(
        "tower-attention",
        "self_attn.*",
        {
            **{f"{end}_proj": f"self_attn.{end}_proj" for end in "qkv"},
            "post": "self_attn.post",
        },
    ),
    _clipped(
        "tower-feed-forward",
        "feed_forward?.ffw_layer_?",
        {f"ffw_layer_{at}": f"feed_forward?.ffw_layer_{at}" for at in (1, 2)},
    ),
    _clipped(
        "tower-convolution",
        "lconv1d.linear_*",
        {f"linear_{end}": f"lconv1d.linear_{end}" for end in ("start", "end")},
    ),
    single(
        "input-projection",
        f"{TOWER_PATH}.subsample_conv_projection.input_proj_linear",
        TOWER,
        "encoder",
    ),
    single("output-projection", f"{TOWER_PATH}.output_proj", TOWER, "encoder"),
    # It is given the distances that attention reaches, the same for every sound: its rows are
    # nobody's, and vLLM maps them those of the first sounds.
    ModuleGroup(
        name="relative-keys",
        pattern=r"model\.audio_tower\.layers\.\d+\.self_attn\.relative_k_proj",
        role=TOWER,
        rows="distances",
        target=f"{LAYER}.self_attn.relative_k_proj",
        unwrapped="not among --lora-target-modules",
    ),
    single("projector", "model.embed_audio.embedding_projection", CONNECTOR, "connector"),
    LANGUAGE_MODEL,
)
