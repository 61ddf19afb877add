"""The miniature: published vision geometry and shared keys, small widths; the files beside it."""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import vocabulary
from mm_lora.families.llava import miniature
from mm_lora.families.llava.layout import Layout
from mm_lora.families.miniature import HALF, TEXT_HIDDEN

IMAGE, BREAK = "<image>", "\n"
SPECIAL_TOKENS = ("<unk>", miniature.BOS, miniature.EOS, miniature.PAD, IMAGE, BREAK)
"""A line break is one token, as in the published tokenizer: vLLM looks it up."""
PROCESSOR = "PaliGemmaProcessor"
_ENDS = {"bos": miniature.BOS, "eos": miniature.EOS, "pad": miniature.PAD}


def miniature_config(published: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The miniature's config.json: all heads of the language model share one key and value."""
    whole = {**published, "vision_feature_layer": -1}
    tower = {"image_size": layout.image_size, "patch_size": layout.patch_size}
    config = miniature.miniature_config(whole, SPECIAL_TOKENS, IMAGE, **tower)
    del config["vision_feature_layer"]
    text = config["text_config"]
    text["num_key_value_heads"] = published["text_config"].get("num_key_value_heads", 1)
    config["vision_config"]["projection_dim"] = TEXT_HIDDEN
    config.update(
        architectures=["PaliGemmaForConditionalGeneration"],
        hidden_size=TEXT_HIDDEN,
        projection_dim=TEXT_HIDDEN,
        **vocabulary.token_ids(SPECIAL_TOKENS, _ENDS),
    )
    return config


def side_files(layout: Layout, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Files beside config, weights and `tokenizer.json`; `pictures`: what every image processor is
    told."""
    side = layout.image_size
    settings = {
        **pictures,
        "image_processor_type": "SiglipImageProcessor",
        "image_mean": HALF,
        "image_std": HALF,
        "image_seq_length": layout.connector_rows(layout.grid(1, 1)),
        "size": {"height": side, "width": side},
    }
    return miniature.side_files(SPECIAL_TOKENS, PROCESSOR, {}, settings)
