"""The miniature: published vision geometry and windows, small widths; the files beside it."""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import vocabulary
from mm_lora.families.gemma3.layout import Layout
from mm_lora.families.llava import miniature
from mm_lora.families.miniature import HEAD_DIM

START, END, IMAGE = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
BREAKS = tuple("\n" * count for count in (1, 2, 3, 4))
"""Line breaks in a row are one token, as in the published tokenizer: vLLM looks them up."""
SPECIAL_TOKENS = (
    *("<unk>", miniature.BOS, miniature.EOS, miniature.PAD),
    *("<start_of_turn>", "<end_of_turn>"),
    *(START, END, IMAGE),
    *BREAKS,
)
PROCESSOR = "Gemma3Processor"


def miniature_config(published: Mapping[str, Any], layout: Layout) -> dict[str, Any]:
    """The miniature's config.json. As many layers as it takes for one without a window."""
    whole = {**published, "vision_feature_layer": -1}
    tower = {"image_size": layout.image_size, "patch_size": layout.patch_size}
    config = miniature.miniature_config(whole, SPECIAL_TOKENS, IMAGE, **tower)
    del config["vision_feature_layer"]
    text = config["text_config"]
    pattern = text.get("sliding_window_pattern", 6)
    text.update(num_hidden_layers=pattern, query_pre_attn_scalar=HEAD_DIM)
    config.update(
        architectures=["Gemma3ForConditionalGeneration"],
        boi_token_index=vocabulary.token_id(SPECIAL_TOKENS, START),
        eoi_token_index=vocabulary.token_id(SPECIAL_TOKENS, END),
        eos_token_id=text["eos_token_id"],
    )
    return config


def side_files(layout: Layout, pictures: Mapping[str, Any]) -> dict[str, Any]:
    """Files beside config, weights and `tokenizer.json`; `pictures`: of the image processor."""
    processor = {"image_seq_length": layout.pooled}
    files = miniature.side_files(SPECIAL_TOKENS, PROCESSOR, processor, pictures)
    tokenizer = files["tokenizer_config.json"]
    del tokenizer["additional_special_tokens"]
    named = {"boi_token": START, "eoi_token": END, "image_token": IMAGE}
    files["tokenizer_config.json"] = {**tokenizer, "extra_special_tokens": named}
    return files
