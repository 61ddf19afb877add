"""The miniature: published vision geometry, small widths; the files beside its weights."""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import miniature, vocabulary
from mm_lora.families.smolvlm.layout import Layout

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<end_of_utterance>",
    "<fake_token_around_image>",
    "<image>",
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)
"""SmolVLM's, as far as a prompt needs them; the line break is a byte of the vocabulary."""

ENDS = {"bos": "<|im_start|>", "eos": "<end_of_utterance>", "pad": "<|im_end|>"}


def miniature_config(published: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part.

    A config of type `smolvlm` becomes one of type `idefics3`: the same layers and prompts in vLLM,
    but a processor that needs no num2words.
    """
    config, text, vision = miniature.copied(published, "text_config", "vision_config")
    ids = vocabulary.token_ids(SPECIAL_TOKENS, ENDS)
    heads = miniature.key_value_heads(text)
    text.update(miniature.TEXT, head_dim=miniature.HEAD_DIM, num_key_value_heads=heads, **ids)
    vision.update(
        miniature.VISION,
        model_type="idefics3_vision",
        image_size=layout.image_size,
        patch_size=layout.patch_size,
    )
    for part in (config, text):
        part["vocab_size"] = len(vocabulary.vocabulary(SPECIAL_TOKENS))
    config.update(
        model_type="idefics3",
        architectures=["Idefics3ForConditionalGeneration"],
        dtype="float32",
        image_token_id=vocabulary.token_id(SPECIAL_TOKENS, "<image>"),
        pad_token_id=ids["pad_token_id"],
        scale_factor=layout.scale_factor,
    )
    return config


def side_files(layout: Layout) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    pictures = {
        **miniature.PICTURES,
        "image_processor_type": "Idefics3ImageProcessor",
        "do_convert_rgb": True,
        "do_image_splitting": layout.splits,
        "do_pad": True,
        "max_image_size": {"longest_edge": layout.image_size},
        "resample": 1,
        "size": {"longest_edge": layout.longest_edge},
    }
    settings = {"image_seq_len": layout.connector_rows}
    return miniature.side_files(SPECIAL_TOKENS, "Idefics3Processor", ENDS, pictures, settings)
