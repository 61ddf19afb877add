"""What the miniatures have in common: small widths, and the files beside the weights."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import vocabulary

TEXT_HIDDEN = 128
HEAD_DIM = 32
MAX_POSITIONS = 16384
"""vLLM lays a table of all positions out in memory."""

VISION: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TEXT: Mapping[str, Any] = {
    "hidden_size": TEXT_HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": MAX_POSITIONS,
}
_DROPPED = ("torch_dtype", "dtype", "quantization_config", "_name_or_path", "transformers_version")
"""What speaks of the published weights alone."""

HALF = [0.5, 0.5, 0.5]
PICTURES: Mapping[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": HALF,
    "image_std": HALF,
    "rescale_factor": 1 / 255,
}
"""Settings of every image processor."""


def copied(published: Mapping[str, Any], *parts: str) -> tuple[dict[str, Any], ...]:
    """A config, to be changed, and these parts of it. Raises UsageError where one is missing."""
    config = copy.deepcopy(dict(published))
    found = [config.get(part) for part in parts]
    if not all(isinstance(part, dict) for part in found):
        raise UsageError(
            f"the config has no {' or no '.join(parts)}", "a config.json of a whole model"
        )
    whole: list[dict[str, Any]] = [config, *(part for part in found if isinstance(part, dict))]
    for part in whole:
        for key in _DROPPED:
            part.pop(key, None)
    return tuple(whole)


def key_value_heads(text: Mapping[str, Any]) -> int:
    """Of the miniature, whose four heads share them where the published model's do."""
    heads = text.get("num_attention_heads")
    return 4 if text.get("num_key_value_heads", heads) == heads else 2


def side_files(
    tokens: Sequence[str],
    processor: str,
    ends: Mapping[str, str],
    pictures: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON files of a checkpoint besides config, weights and `tokenizer.json`, by name.

    `tokens`: the special ones; `ends`: which of them are `bos`, `eos` and `pad`. `processor`: the
    class of the processor, `settings`: its own, `pictures`: those of its image processor; no file
    for None.
    """
    stored = {"preprocessor_config.json": pictures, "processor_config.json": settings}
    named = {f"{name}_token": token for name, token in ends.items()}
    return {
        "generation_config.json": vocabulary.token_ids(tokens, ends),
        **{
            name: {"processor_class": processor, **own}
            for name, own in stored.items()
            if own is not None
        },
        "tokenizer_config.json": vocabulary.tokenizer_config(
            tokens, processor, MAX_POSITIONS, **named
        ),
    }
