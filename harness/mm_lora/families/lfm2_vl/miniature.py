"""The miniature: published vision geometry, small widths; the files beside its weights."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mm_lora.families import miniature, vocabulary
from mm_lora.families.lfm2_vl.layout import NUMBERS, Layout

MOST_TILES = 10
"""Along a side, of which a marker can speak."""

BOS, EOS, PAD = "<|startoftext|>", "<|im_end|>", "<|pad|>"
_HIDDEN = miniature.TEXT_HIDDEN
_ENDS = {"bos": BOS, "eos": EOS, "pad": PAD}
IMAGE, START, END, THUMBNAIL = "<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"
_SIDES = range(1, MOST_TILES + 1)
SPECIAL_TOKENS = (
    *(PAD, BOS, "<|endoftext|>", "<|im_start|>", EOS),
    *(IMAGE, START, END, THUMBNAIL),
    *(f"<|img_row_{row}_col_{column}|>" for row in _SIDES for column in _SIDES),
)
LAYERS = ("conv", "full_attention", "conv", "full_attention")
"""Layers 7 to 10 of the smaller published models."""

_TEXT: Mapping[str, Any] = {
    **dict.fromkeys(("hidden_size", "block_dim", "conv_dim", "conv_dim_out"), _HIDDEN),
    **dict.fromkeys(("intermediate_size", "block_ff_dim"), 384),
    "num_attention_heads": 4,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": len(LAYERS),
    "layer_types": list(LAYERS),
    "full_attn_idxs": [at for at, kind in enumerate(LAYERS) if kind == "full_attention"],
    "max_position_embeddings": miniature.MAX_POSITIONS,
}


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part."""
    config, text, vision = miniature.copied(published, "text_config", "vision_config")
    text.update(_TEXT, **vocabulary.token_ids(SPECIAL_TOKENS, _ENDS))
    text["vocab_size"] = len(vocabulary.vocabulary(SPECIAL_TOKENS))
    vision.update(miniature.VISION)
    config.pop("image_token_index", None)
    config.update(
        dtype="float32",
        image_token_id=vocabulary.token_id(SPECIAL_TOKENS, IMAGE),
        projector_hidden_size=_HIDDEN,
    )
    return config


def side_files(layout: Layout) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    pictures = {
        **miniature.PICTURES,
        "image_processor_type": "Lfm2VlImageProcessor",
        "do_image_splitting": layout.max_tiles > 1,
        "do_pad": True,
        "max_pixels_tolerance": layout.tolerance,
        "resample": 2,
        "use_thumbnail": layout.thumbnail,
        **{key: value for key, value in asdict(layout).items() if key in NUMBERS},
    }
    return miniature.side_files(SPECIAL_TOKENS, "Lfm2VlProcessor", _ENDS, pictures, {})
