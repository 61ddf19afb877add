"""The miniature: published vision geometry, small widths; the files beside its weights."""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import vocabulary
from mm_lora.families.lfm2_vl.layout import NUMBERS, Layout

TEXT_HIDDEN = 128
MAX_POSITIONS = 16384
MOST_TILES = 10
"""Along a side, of which a marker can speak."""

BOS, EOS, PAD = "<|startoftext|>", "<|im_end|>", "<|pad|>"
IMAGE, START, END, THUMBNAIL = "<image>", "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"
_SIDES = range(1, MOST_TILES + 1)
SPECIAL_TOKENS = (
    *(PAD, BOS, "<|endoftext|>", "<|im_start|>", EOS),
    *(IMAGE, START, END, THUMBNAIL),
    *(f"<|img_row_{row}_col_{column}|>" for row in _SIDES for column in _SIDES),
)
LAYERS = ("conv", "full_attention", "conv", "full_attention")
"""Layers 7 to 10 of the smaller published models."""

_VISION: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
}
_TEXT: Mapping[str, Any] = {
    **dict.fromkeys(("hidden_size", "block_dim", "conv_dim", "conv_dim_out"), TEXT_HIDDEN),
    **dict.fromkeys(("intermediate_size", "block_ff_dim"), 384),
    "num_attention_heads": 4,
    "num_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": len(LAYERS),
    "layer_types": list(LAYERS),
    "full_attn_idxs": [at for at, kind in enumerate(LAYERS) if kind == "full_attention"],
    "max_position_embeddings": MAX_POSITIONS,
}


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part."""
    config = copy.deepcopy(dict(published))
    if not all(isinstance(config.get(part), dict) for part in ("text_config", "vision_config")):
        raise UsageError(
            "the config has no text_config or no vision_config", "a config.json of a whole model"
        )
    text, vision = config["text_config"], config["vision_config"]
    text.update(_TEXT, **token_ids())
    text["vocab_size"] = len(vocabulary.vocabulary(SPECIAL_TOKENS))
    vision.update(_VISION)
    for part in (config, text, vision):
        for key in ("torch_dtype", "quantization_config", "_name_or_path", "transformers_version"):
            part.pop(key, None)
    config.pop("image_token_index", None)
    config.update(
        dtype="float32",
        image_token_id=vocabulary.token_id(SPECIAL_TOKENS, IMAGE),
        projector_hidden_size=TEXT_HIDDEN,
    )
    return config


def token_ids() -> dict[str, int]:
    """Ends and padding, as config.json has them."""
    named = {"bos": BOS, "eos": EOS, "pad": PAD}
    return {
        f"{key}_token_id": vocabulary.token_id(SPECIAL_TOKENS, token)
        for key, token in named.items()
    }


def side_files(layout: Layout) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    name, half = "Lfm2VlProcessor", [0.5, 0.5, 0.5]
    numbers = {key: value for key, value in asdict(layout).items() if key in NUMBERS}
    return {
        "generation_config.json": token_ids(),
        "preprocessor_config.json": {
            "image_processor_type": "Lfm2VlImageProcessor",
            "processor_class": name,
            "do_image_splitting": layout.max_tiles > 1,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": half,
            "image_std": half,
            "max_pixels_tolerance": layout.tolerance,
            "resample": 2,
            "rescale_factor": 1 / 255,
            "use_thumbnail": layout.thumbnail,
            **numbers,
        },
        "processor_config.json": {"processor_class": name},
        "tokenizer_config.json": {
            **vocabulary.tokenizer_config(
                SPECIAL_TOKENS, name, MAX_POSITIONS, bos_token=BOS, eos_token=EOS, pad_token=PAD
            ),
        },
    }
