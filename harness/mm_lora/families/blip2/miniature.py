"""The miniature: published vision geometry and queries, small widths; the files beside it."""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import miniature, vocabulary
from mm_lora.families.blip2.layout import Layout
from mm_lora.families.llava.shared import PICTURES

IMAGE = "<image>"
BOS, PAD, EOS = "<s>", "<pad>", "</s>"
SPECIAL_TOKENS = (BOS, PAD, EOS, "<unk>", IMAGE)
PROCESSOR = "Blip2Processor"
_ENDS = {"bos": EOS, "eos": EOS, "pad": PAD}
"""OPT begins its texts with the token that ends them (arXiv 2205.01068)."""

QFORMER: Mapping[str, Any] = {
    "hidden_size": 96,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "encoder_hidden_size": miniature.VISION["hidden_size"],
}
"""Of three layers, the second does not look at the picture, as every second one published."""


def miniature_config(published: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part."""
    parts = ("text_config", "vision_config", "qformer_config")
    config, text, tower, qformer = miniature.copied(published, *parts)
    ids = vocabulary.token_ids(SPECIAL_TOKENS, _ENDS)
    widths = dict(miniature.TEXT)
    text.update(
        **{"ffn_dim": widths.pop("intermediate_size"), **widths, **ids},
        word_embed_proj_dim=miniature.TEXT_HIDDEN,
        vocab_size=len(vocabulary.vocabulary(SPECIAL_TOKENS)),
    )
    tower.update(miniature.VISION, image_size=layout.image_size, patch_size=layout.patch_size)
    qformer.update(QFORMER)
    config.update(
        architectures=["Blip2ForConditionalGeneration"],
        dtype="float32",
        image_token_index=vocabulary.token_id(SPECIAL_TOKENS, IMAGE),
        num_query_tokens=layout.queries,
    )
    return config


def side_files(layout: Layout) -> dict[str, Any]:
    """Files beside config, weights and `tokenizer.json`."""
    side = layout.image_size
    pictures = {
        **PICTURES,
        "image_processor_type": "BlipImageProcessor",
        "size": {"height": side, "width": side},
    }
    settings = {"num_query_tokens": layout.queries}
    return miniature.side_files(SPECIAL_TOKENS, PROCESSOR, _ENDS, pictures, settings)
