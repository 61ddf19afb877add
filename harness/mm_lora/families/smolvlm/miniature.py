"""The miniature: published vision geometry, small widths; the files beside its weights."""

import copy
from collections.abc import Mapping
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import vocabulary
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

MAX_POSITIONS = 16384
_VISION: Mapping[str, Any] = {
    "model_type": "idefics3_vision",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
_TEXT: Mapping[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "head_dim": 32,
    "max_position_embeddings": MAX_POSITIONS,
}


def miniature_config(published: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part.

    A config of type `smolvlm` becomes one of type `idefics3`: the same layers and prompts in vLLM,
    but a processor that needs no num2words.
    """
    config = copy.deepcopy(dict(published))
    if not all(isinstance(config.get(part), dict) for part in ("text_config", "vision_config")):
        raise UsageError(
            "the config has no text_config or no vision_config", "a config.json of a whole model"
        )
    text, vision = config["text_config"], config["vision_config"]
    shares = text.get("num_key_value_heads") != text.get("num_attention_heads")
    ids = token_ids()
    text.update(_TEXT, num_key_value_heads=2 if shares else 4, **ids)
    vision.update(_VISION, image_size=layout.image_size, patch_size=layout.patch_size)
    for part in (config, text):
        part["vocab_size"] = len(vocabulary.vocabulary(SPECIAL_TOKENS))
    for part in (config, text, vision):
        for key in ("torch_dtype", "quantization_config", "_name_or_path", "transformers_version"):
            part.pop(key, None)
    config.update(
        model_type="idefics3",
        architectures=["Idefics3ForConditionalGeneration"],
        dtype="float32",
        image_token_id=vocabulary.token_id(SPECIAL_TOKENS, "<image>"),
        pad_token_id=ids["pad_token_id"],
        scale_factor=layout.scale_factor,
    )
    return config


def token_ids() -> dict[str, Any]:
    """Ends and padding, as config.json has them."""
    names = {"bos": "<|im_start|>", "eos": "<end_of_utterance>", "pad": "<|im_end|>"}
    return {
        f"{key}_token_id": vocabulary.token_id(SPECIAL_TOKENS, token)
        for key, token in names.items()
    }


def side_files(layout: Layout) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    half = [0.5, 0.5, 0.5]
    return {
        "generation_config.json": token_ids(),
        "preprocessor_config.json": {
            "image_processor_type": "Idefics3ImageProcessor",
            "processor_class": "Idefics3Processor",
            "do_convert_rgb": True,
            "do_image_splitting": layout.splits,
            "do_normalize": True,
            "do_pad": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": half,
            "image_std": half,
            "max_image_size": {"longest_edge": layout.image_size},
            "resample": 1,
            "rescale_factor": 1 / 255,
            "size": {"longest_edge": layout.longest_edge},
        },
        "processor_config.json": {
            "processor_class": "Idefics3Processor",
            "image_seq_len": layout.connector_rows,
        },
        "tokenizer_config.json": vocabulary.tokenizer_config(
            SPECIAL_TOKENS,
            "Idefics3Processor",
            MAX_POSITIONS,
            bos_token="<|im_start|>",
            eos_token="<end_of_utterance>",
            pad_token="<|im_end|>",
        ),
    }
