"""The miniature: published vision geometry and structure, small widths; the files beside it."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import vocabulary

TEXT_HIDDEN = 128
MAX_POSITIONS = 16384
LAYERS_RUN = 2
"""Of the tower. Published models stop at the last layer or at the one before it."""

_VISION: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
}
_TEXT: Mapping[str, Any] = {
    "hidden_size": TEXT_HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": MAX_POSITIONS,
}
_DROPPED = ("torch_dtype", "quantization_config", "_name_or_path", "transformers_version")
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


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
    config = copy.deepcopy(dict(published))
    if not all(isinstance(config.get(part), dict) for part in ("text_config", "vision_config")):
        raise UsageError(
            "the config has no text_config or no vision_config", "a config.json of a whole model"
        )
    text, tower = config["text_config"], config["vision_config"]
    layer, depth = config.get("vision_feature_layer", -2), tower.get("num_hidden_layers", 24)
    unused = depth - layers_run(layer, depth)
    shares = text.get("num_key_value_heads") not in (None, text.get("num_attention_heads"))
    ids = token_ids(tokens)
    text.update(_TEXT, num_key_value_heads=2 if shares else 4, **ids)
    tower.update(_VISION, num_hidden_layers=LAYERS_RUN + min(unused, 1), **vision)
    for key in ("head_dim", "max_window_layers"):
        for part in (tower, text):
            if key in part:
                part[key] = {"head_dim": part["hidden_size"] // 4, "max_window_layers": 4}[key]
    text["vocab_size"] = len(vocabulary.vocabulary(tuple(tokens)))
    for part in (config, text, tower):
        for key in _DROPPED:
            part.pop(key, None)
    config.update(
        architectures=["LlavaForConditionalGeneration"],
        dtype="float32",
        image_token_index=vocabulary.token_id(tokens, image_token),
        vision_feature_layer=-1 - min(unused, 1),
        pad_token_id=ids["pad_token_id"],
    )
    return config


def token_ids(tokens: Sequence[str]) -> dict[str, int]:
    """Ends and padding, as config.json has them."""
    named = {"bos": BOS, "eos": EOS, "pad": PAD}
    return {f"{key}_token_id": vocabulary.token_id(tokens, token) for key, token in named.items()}


def side_files(
    tokens: Sequence[str], name: str, processor: Mapping[str, Any], pictures: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name.

    `name`: the processor's class; `processor`, `pictures`: settings of it and of its image
    processor.
    """
    return {
        "generation_config.json": token_ids(tokens),
        "preprocessor_config.json": {"processor_class": name, **pictures},
        "processor_config.json": {"processor_class": name, **processor},
        "tokenizer_config.json": vocabulary.tokenizer_config(
            tokens, name, MAX_POSITIONS, bos_token=BOS, eos_token=EOS, pad_token=PAD
        ),
    }
