"""LFM2-VL's own patches: the names that its class does not know, and seeded miscounts."""

import dataclasses
from typing import Any

from ...mutants.mapping import connector_as_tower, miscount, miscounted
from ...registry import Patch
from ..llava.hooks import tower_names

OWNER = "vllm.model_executor.models.lfm2_vl:Lfm2VLForConditionalGeneration"
HOOK = f"{OWNER}.get_mm_lora_token_counts"
MAPPER = f"{OWNER}.hf_to_vllm_mapper"
LARGEST = (
    "vllm.model_executor.models.lfm2_vl:Lfm2VLProcessingInfo.get_image_size_with_most_features"
)
NEWEST = {
    f"model.vision_tower.{part}.": f"vision_tower.vision_model.{part}."
    for part in ("embeddings", "encoder")
}
"""As transformers names the tower's parts since 5.6 → as vLLM does."""

Rows = tuple[int, int]
"""(tower rows, connector rows)."""


def _conv_names(original: Any) -> Any:
    def load_weights(self: Any, weights: Any) -> Any:
        loaded = original(self, weights)
        # Not before: the model within changes the names of weights itself, and would do so twice.
        mapper = self.hf_to_vllm_mapper
        inner = {**mapper.orig_to_new_substr, ".conv.": ".short_conv."}
        self.hf_to_vllm_mapper = dataclasses.replace(mapper, orig_to_new_substr=inner)
        return loaded

    return load_weights


def _most_tiles(original: Any) -> Any:
    def get_image_size_with_most_features(self: Any) -> Any:
        found = original(self)
        pictures = self.get_image_processor()
        if pictures.max_tiles > 1:
            # A strip that is cut into the most tiles; its thumbnail has nearly the most tokens.
            tile = pictures.tile_size
            found = type(found)(width=pictures.max_tiles * tile, height=tile)
        return found

    return get_image_size_with_most_features


def not_squared(model: Any, tower: int, connector: int) -> Rows:
    """As many tower rows a connector row as the factor, not its square."""
    return connector * model.config.downsample_factor, connector


PATCHES = (
    Patch(
        id="lfm2-vl-conv-names",
        kind="fix",
        versions=">=0.32",
        wraps={f"{OWNER}.load_weights": _conv_names},
        needs=(MAPPER,),
        reason="adapters name the blocks that convolve `conv`, vLLM's class `short_conv`; only the "
        "text-only class knows both",
    ),
    tower_names("lfm2-vl", OWNER, NEWEST),
    Patch(
        id="lfm2-vl-most-tiles",
        kind="fix",
        versions=">=0.32",
        wraps={LARGEST: _most_tiles},
        reason="the picture with the most tokens is cut into tiles; vLLM makes room for one that "
        "is not",
    ),
    *(
        miscounted(f"lfm2-vl-{name}", HOOK, miscount(mistake), reason, ("lfm2-vl",))
        for name, mistake, reason in (
            ("not-squared", not_squared, "tower rows by the factor, not its square"),
            ("not-unshuffled", connector_as_tower, "connector rows by patches"),
        )
    ),
)
