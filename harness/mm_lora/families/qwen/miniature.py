"""The miniature: published structure, small widths; the files beside its weights.

Kept: patches, merging, windows and their pattern, the proportions of mRoPE's sections, tied or
separate heads. The published configs have the text's keys beside `vision_config`; those that newer
transformers write have a `text_config`. Both are taken, and stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import miniature, vocabulary
from mm_lora.families.qwen.geometry import Layout

SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>"),
    *("<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
"""The published ones, in their order."""

TEXT_HIDDEN = miniature.TEXT_HIDDEN
DEPTH = 4
_HALF_HEAD = miniature.HEAD_DIM // 2
IDS: Mapping[str, str] = {
    "bos_token_id": "<|endoftext|>",
    "eos_token_id": "<|im_end|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "vision_token_id": "<|vision_pad|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
"""Key of a config → the token whose id it holds."""
ENDS = ("<|im_end|>", "<|endoftext|>")
"""What ends an answer; the last one also fills and begins."""


def miniature_config(
    published: Mapping[str, Any],
    vision_widths: Mapping[str, Any],
    tokens: Sequence[str] = SPECIAL_TOKENS,
    ids: Mapping[str, str] = IDS,
) -> dict[str, Any]:
    """The miniature's `config.json` for a published, or the user's, config.

    Raises UsageError for a config that has no vision part.
    """
    config, vision = miniature.copied(published, "vision_config")
    text = config.get("text_config") or config
    if "hidden_size" not in text:
        raise UsageError("the config has no text part", "a config.json of a whole model")
    for part in (config, text, vision):
        part.pop("layer_types", None)
        found = {key: token for key, token in ids.items() if key in part}
        part.update({key: vocabulary.token_id(tokens, token) for key, token in found.items()})
    text.update(
        miniature.TEXT,
        num_key_value_heads=2,
        max_window_layers=DEPTH,
        vocab_size=len(vocabulary.vocabulary(tuple(tokens))),
    )
    for key in ("rope_scaling", "rope_parameters"):
        if sections := (text.get(key) or {}).get("mrope_section"):
            turned = int(_HALF_HEAD * text[key].get("partial_rotary_factor", 1))
            whole = sum(sections)
            text[key]["mrope_section"] = [part * turned // whole for part in sections]
    vision.update(vision_widths)
    config["dtype"] = "float32"
    return config


def side_files(
    layout: Layout,
    processor: str,
    tokens: Sequence[str] = SPECIAL_TOKENS,
    ends: Sequence[str] = ENDS,
) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    ids = [vocabulary.token_id(tokens, token) for token in ends]
    return {
        "generation_config.json": {
            "bos_token_id": ids[-1],
            "eos_token_id": ids,
            "pad_token_id": ids[-1],
        },
        "preprocessor_config.json": {
            "image_processor_type": "Qwen2VLImageProcessor",
            "processor_class": processor,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "min_pixels": layout.min_pixels,
            "max_pixels": layout.max_pixels,
            "patch_size": layout.patch,
            "merge_size": layout.merge,
            "temporal_patch_size": layout.temporal,
        },
        "tokenizer_config.json": vocabulary.tokenizer_config(
            tokens,
            processor,
            miniature.MAX_POSITIONS,
            eos_token=ends[0],
            pad_token=ends[-1],
        ),
    }
