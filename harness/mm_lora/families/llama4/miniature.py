"""The miniature: published geometry and structure, small widths; the files beside its weights.

What decides rows and routing is kept (image_size, patch_size, pixel_shuffle_ratio, experts, top-k,
MoE step, qk-norm, RoPE pattern and scaling, attention chunks); what only costs memory is small.
"""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import miniature, vocabulary
from mm_lora.families.llama4.geometry import Geometry

SPECIAL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|header_start|>",
    "<|header_end|>",
    "<|eom|>",
    "<|eot|>",
    "<|step|>",
    "<|python_start|>",
    "<|python_end|>",
    "<|finetune_right_pad|>",
    "<|image_start|>",
    "<|image_end|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
    "<|image|>",
    "<|patch|>",
)
"""A part of the published ones, in their order."""

VISION_HIDDEN = 64
TEXT_LAYERS = 4
_VISION: dict[str, Any] = {
    "hidden_size": VISION_HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "projector_input_dim": 128,
    "projector_output_dim": 128,
    "vision_output_dim": 128,
}
_TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 128,
    "intermediate_size_mlp": 256,
    "max_position_embeddings": miniature.MAX_POSITIONS,
}
_END_TOKENS = ("<|end_of_text|>", "<|eom|>", "<|eot|>")


def miniature_config(published: Mapping[str, Any], geometry: Geometry) -> dict[str, Any]:
    """The miniature's `config.json` for a published, or the user's, config.

    Raises UsageError for a config that has no text part.
    """
    config, text, vision = miniature.copied(published, "text_config", "vision_config")
    layers = max(TEXT_LAYERS, text.get("interleave_moe_layer_step", 1))
    text.update(
        _TEXT,
        num_hidden_layers=layers,
        vocab_size=len(vocabulary.vocabulary(SPECIAL_TOKENS)),
        **_token_ids(),
    )
    _shorten(text, layers)
    vision.update(
        _VISION,
        image_size=geometry.image_size,
        patch_size=geometry.patch_size,
        pixel_shuffle_ratio=geometry.pixel_shuffle_ratio,
        # Pixel shuffle stacks shuffle² neighbours: that is the width of the vision adapter's input.
        intermediate_size=VISION_HIDDEN * geometry.shuffle**2,
    )
    config.update(
        dtype="float32",
        boi_token_index=_id("<|image_start|>"),
        eoi_token_index=_id("<|image_end|>"),
        image_token_index=_id("<|patch|>"),
    )
    return config


def side_files(geometry: Geometry) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    return {
        "generation_config.json": _token_ids(),
        "preprocessor_config.json": _image_processor(geometry),
        "processor_config.json": {
            "processor_class": "Llama4Processor",
            "fake_image_token": "<|image|>",
            "image_token": "<|image|>",
            "patch_size": geometry.patch_size,
            "pixel_shuffle_ratio": geometry.pixel_shuffle_ratio,
        },
        "tokenizer_config.json": vocabulary.tokenizer_config(
            SPECIAL_TOKENS,
            "Llama4Processor",
            miniature.MAX_POSITIONS,
            bos_token="<|begin_of_text|>",
            eos_token="<|eot|>",
            pad_token="<|finetune_right_pad|>",
        ),
    }


def _id(token: str) -> int:
    return vocabulary.token_id(SPECIAL_TOKENS, token)


def _token_ids() -> dict[str, Any]:
    return {
        "bos_token_id": _id("<|begin_of_text|>"),
        "eos_token_id": [_id(token) for token in _END_TOKENS],
        "pad_token_id": _id("<|finetune_right_pad|>"),
    }


def _image_processor(geometry: Geometry) -> dict[str, Any]:
    return {
        **miniature.PICTURES,
        "image_processor_type": "Llama4ImageProcessorFast",
        "processor_class": "Llama4Processor",
        "do_convert_rgb": True,
        "max_patches": geometry.max_chunks,
        "resample": 2,
        "resize_to_max_canvas": False,
        "size": {"height": geometry.image_size, "width": geometry.image_size},
    }


def _shorten(text: dict[str, Any], layers: int) -> None:
    """Lists that have an entry per layer, or name layers, as far as `layers` go."""
    for key in ("no_rope_layers", "layer_types"):
        if text.get(key):
            text[key] = text[key][:layers]
    if text.get("moe_layers"):
        text["moe_layers"] = [layer for layer in text["moe_layers"] if layer < layers]
