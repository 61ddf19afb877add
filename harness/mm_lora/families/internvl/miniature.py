"""The miniature: published vision geometry and structure, small widths; files beside its weights.

Kept: tiles, patches, pixel shuffle, the class token, norms and biases of the tower, RoPE's scaling.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import vocabulary

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    *(
        "<img>",
        "</img>",
        "<IMG_CONTEXT>",
        "<quad>",
        "</quad>",
        "<ref>",
        "</ref>",
        "<box>",
        "</box>",
    ),
)
"""The published ones, in their order; `<image>`, which a prompt has, is none of them."""

TEXT_HIDDEN = 128
MAX_POSITIONS = 16384
BESIDE = Path(__file__).parent / "beside"
"""No package: code that runs where a checkpoint is loaded, never here."""
CONFIGURATION = "configuration_internvl_chat.py"

_VISION: Mapping[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_TEXT: Mapping[str, Any] = {
    "hidden_size": TEXT_HIDDEN,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_POSITIONS,
    "max_window_layers": 4,
}
_IDS = {"bos_token_id": "<|endoftext|>", "eos_token_id": "<|im_end|>"}
_DROPPED = ("torch_dtype", "dtype", "quantization_config", "_name_or_path", "transformers_version")
_KINDS = {"ps_version": "v2", "select_layer": -1}
"""What transformers' own class assumes, as every published model since InternVL2 has it."""


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part, or has one
    that transformers' own class cannot compute."""
    config = copy.deepcopy(dict(published))
    text, vision = config.get("llm_config"), config.get("vision_config")
    if not isinstance(text, dict) or not isinstance(vision, dict):
        raise UsageError(
            "the config has no llm_config or no vision_config", "a config.json of a whole model"
        )
    if text.get("model_type") != "qwen2" or text.get("tie_word_embeddings"):
        raise UsageError(
            f"the language model is {text.get('model_type')!r}, or its head is tied",
            "llm_config: here a Qwen2 with a head of its own is known",
        )
    for key, known in _KINDS.items():
        if config.get(key, known) != known:
            raise UsageError(f"{key} is {config[key]!r}, not {known!r}", "the config")
    for part in (config, text, vision):
        for key in (*_DROPPED, "layer_types"):
            part.pop(key, None)
    text.update(_TEXT, vocab_size=len(vocabulary.vocabulary(SPECIAL_TOKENS)))
    text.update({key: token_id(token) for key, token in _IDS.items()})
    vision.update(_VISION)
    config.update(
        dtype="float32",
        hidden_size=TEXT_HIDDEN,
        auto_map={"AutoConfig": f"{CONFIGURATION.removesuffix('.py')}.InternVLChatConfig"},
    )
    return config


def side_files() -> dict[str, Any]:
    """The checkpoint's files besides config, weights and `tokenizer.json`, by name.

    No processor's: vLLM has its own for this class, which reads config.json.
    """
    return {
        CONFIGURATION: (BESIDE / CONFIGURATION).read_text(encoding="utf-8"),
        "generation_config.json": {
            **{key: token_id(token) for key, token in _IDS.items()},
            "pad_token_id": token_id("<|endoftext|>"),
        },
        "tokenizer_config.json": vocabulary.tokenizer_config(
            SPECIAL_TOKENS,
            "InternVLProcessor",
            MAX_POSITIONS,
            eos_token="<|im_end|>",
            pad_token="<|endoftext|>",
        ),
    }


def token_id(token: str) -> int:
    """Of one of the special tokens."""
    return vocabulary.token_id(SPECIAL_TOKENS, token)
