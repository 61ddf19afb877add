"""The miniature: published vision geometry and structure, small widths; the files beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import miniature, vocabulary

LAYERS_RUN = 2
"""Of the tower. Published models stop at the last layer or at the one before it."""
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
_ENDS = {"bos": BOS, "eos": EOS, "pad": PAD}


def layers_run(feature_layer: Any, layers: int) -> int:
    """How many layers of the tower the connector needs; those after them act on nothing.

    `feature_layer`: of the hidden states, of which the first is what the first layer is given.
    """
    if isinstance(feature_layer, bool) or not isinstance(feature_layer, int):
        raise UsageError(
            f"vision_feature_layer is {feature_layer!r}: several layers are not supported",
            "one whole number",
        )
    run = layers + 1 + feature_layer if feature_layer < 0 else feature_layer
    if not 0 < run <= layers:
        raise UsageError(f"vision_feature_layer {feature_layer} of {layers} layers", "the config")
    return run


def miniature_config(
    published: Mapping[str, Any], tokens: Sequence[str], image_token: str, **vision: Any
) -> dict[str, Any]:
    """The miniature's config.json; `vision`: what its tower keeps of the layout.

    Raises UsageError for a config that lacks a part.
    """
    config, text, tower = miniature.copied(published, "text_config", "vision_config")
    layer, depth = config.get("vision_feature_layer", -2), tower.get("num_hidden_layers", 24)
    unused = depth - layers_run(layer, depth)
    ids = vocabulary.token_ids(tokens, _ENDS)
    heads = miniature.key_value_heads(text)
    text.update(miniature.TEXT, head_dim=miniature.HEAD_DIM, num_key_value_heads=heads, **ids)
    tower.update({**miniature.VISION, "num_hidden_layers": LAYERS_RUN + min(unused, 1), **vision})
    if "head_dim" in tower:
        tower["head_dim"] = tower["hidden_size"] // tower["num_attention_heads"]
    if "max_window_layers" in text:
        text["max_window_layers"] = text["num_hidden_layers"]
    text["vocab_size"] = len(vocabulary.vocabulary(tuple(tokens)))
    config.update(
        architectures=["LlavaForConditionalGeneration"],
        dtype="float32",
        image_token_index=vocabulary.token_id(tokens, image_token),
        vision_feature_layer=-1 - min(unused, 1),
        pad_token_id=ids["pad_token_id"],
    )
    return config


def side_files(
    tokens: Sequence[str], name: str, processor: Mapping[str, Any], pictures: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name.

    `name`: the processor's class; `processor`, `pictures`: settings of it and of its image
    processor.
    """
    return miniature.side_files(tokens, name, _ENDS, pictures, processor)
