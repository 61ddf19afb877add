"""The miniature in Mistral's format: published vision geometry, small widths, a small tekken.json.

What mistral-common reads is `params.json`, `tekken.json` and `consolidated.safetensors`;
`config.json` holds the params once more, under the name of the family, for this tool alone.
"""

import base64
from collections.abc import Mapping
from typing import Any

from mm_lora.families import vocabulary
from mm_lora.families.miniature import HEAD_DIM, MAX_POSITIONS, TEXT, VISION
from mm_lora.families.pixtral.layout import Layout, vision_of

SPECIAL_TOKENS = (
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]"),
    *("[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    "[TOOL_CONTENT]",
)
"""Those that tekken files of version 7 and earlier need not name, in their order; they come before
all other tokens."""

PIECES = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"
"""What tekken takes for a word: with the space before it."""


def params_of(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's params.json. Raises UsageError for params that lack a part."""
    vision = dict(vision_of(published))
    params = {**published["params"], "vision_encoder": vision}
    params.update(
        dim=TEXT["hidden_size"],
        n_layers=TEXT["num_hidden_layers"],
        head_dim=HEAD_DIM,
        hidden_dim=TEXT["intermediate_size"],
        n_heads=TEXT["num_attention_heads"],
        n_kv_heads=2,
        vocab_size=len(SPECIAL_TOKENS) + len(vocabulary.vocabulary(())),
        max_position_embeddings=MAX_POSITIONS,
    )
    vision.update(VISION, image_token_id=SPECIAL_TOKENS.index("[IMG]"))
    return params


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json."""
    return {**published, "params": params_of(published)}


def tekken(layout: Layout, version: str) -> dict[str, Any]:
    """The content of tekken.json: the words of all miniatures, behind the special tokens."""
    letters = {letter: byte for byte, letter in enumerate(vocabulary.byte_letters())}
    known = [bytes(letters[one] for one in token) for token in vocabulary.vocabulary(())]
    return {
        "config": {
            "pattern": PIECES,
            "num_vocab_tokens": len(known),
            "default_vocab_size": len(SPECIAL_TOKENS) + len(known),
            "default_num_special_tokens": len(SPECIAL_TOKENS),
            "version": version,
        },
        "vocab": [
            {
                "rank": rank,
                "token_bytes": base64.b64encode(token).decode(),
                "token_str": token.decode(errors="ignore") or None,
            }
            for rank, token in enumerate(known)
        ],
        "image": {
            "image_patch_size": layout.patch_size,
            "max_image_size": layout.largest,
            "spatial_merge_size": layout.merge,
        },
    }
