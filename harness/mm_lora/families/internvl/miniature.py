"""The miniature: published vision geometry and structure, small widths; files beside its weights.

Kept: tiles, patches, pixel shuffle, the class token, norms and biases of the tower, RoPE's scaling.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import miniature, vocabulary

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
    *("<img>", "</img>", "<IMG_CONTEXT>"),
    *("<quad>", "</quad>", "<ref>", "</ref>", "<box>", "</box>"),
)
"""The published ones, in their order; `<image>`, which a prompt has, is none of them."""

BESIDE = Path(__file__).parent / "beside"
"""No package: code that runs where a checkpoint is loaded, never here."""
CONFIGURATION = "configuration_internvl_chat.py"

_ENDS = {"bos": "<|endoftext|>", "eos": "<|im_end|>"}
_KINDS = {"ps_version": "v2", "select_layer": -1}
"""What transformers' own class assumes, as every published model since InternVL2 has it."""


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part, or has one
    that transformers' own class cannot compute."""
    config, text, vision = miniature.copied(published, "llm_config", "vision_config")
    if text.get("model_type") != "qwen2" or text.get("tie_word_embeddings"):
        raise UsageError(
            f"the language model is {text.get('model_type')!r}, or its head is tied",
            "llm_config: here a Qwen2 with a head of its own is known",
        )
    for key, known in _KINDS.items():
        if config.get(key, known) != known:
            raise UsageError(f"{key} is {config[key]!r}, not {known!r}", "the config")
    text.pop("layer_types", None)
    text.update(
        miniature.TEXT,
        num_key_value_heads=2,
        max_window_layers=miniature.TEXT["num_hidden_layers"],
        vocab_size=len(vocabulary.vocabulary(SPECIAL_TOKENS)),
        **vocabulary.token_ids(SPECIAL_TOKENS, _ENDS),
    )
    vision.update(miniature.VISION)
    config.update(
        dtype="float32",
        hidden_size=miniature.TEXT_HIDDEN,
        auto_map={"AutoConfig": f"{CONFIGURATION.removesuffix('.py')}.InternVLChatConfig"},
    )
    return config


def side_files() -> dict[str, Any]:
    """The checkpoint's files besides config, weights and `tokenizer.json`, by name.

    No processor's: vLLM has its own for this class, which reads config.json.
    """
    ends = {**_ENDS, "pad": "<|endoftext|>"}
    files = miniature.side_files(SPECIAL_TOKENS, "InternVLProcessor", ends)
    del files["tokenizer_config.json"]["bos_token"]
    return {CONFIGURATION: (BESIDE / CONFIGURATION).read_text(encoding="utf-8"), **files}
