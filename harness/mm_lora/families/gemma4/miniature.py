"""The miniature: published patches, budgets and kinds of layers, small widths; its files."""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import miniature, vocabulary
from mm_lora.families.gemma4.layout import Layout
from mm_lora.families.miniature import HEAD_DIM

IMAGE, START, END = "<|image|>", "<|image>", "<image|>"
SOUND, SOUND_START, SOUND_END = "<|audio|>", "<|audio>", "<audio|>"
VIDEO = "<|video|>"
BOS, EOS, PAD = "<bos>", "<eos>", "<pad>"
SPECIAL_TOKENS = (
    *("<unk>", BOS, EOS, PAD, "<|turn>", "<turn|>"),
    *(IMAGE, START, END, SOUND, SOUND_START, SOUND_END, VIDEO),
)
PROCESSOR = "Gemma4Processor"
PER_LAYER = 32
"""Of what each token adds to each layer, where a model has that."""
VISION: Mapping[str, Any] = {
    **miniature.VISION,
    "num_key_value_heads": 4,
    "head_dim": 16,
}
AUDIO: Mapping[str, Any] = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    # The first is the number of frequencies, of which two halvings leave a quarter.
    "subsampling_conv_channels": [128, 8],
    "output_proj_dims": 96,
}
_NAMED: Mapping[str, str] = {
    "image_token": IMAGE,
    "boi_token": START,
    "eoi_token": END,
    "audio_token": SOUND,
    "boa_token": SOUND_START,
    "eoa_token": SOUND_END,
}
"""Attributes of the tokenizer that the processor reads."""
_IDS: Mapping[str, str] = {
    "image_token_id": IMAGE,
    "boi_token_id": START,
    "eoi_token_id": END,
    "video_token_id": VIDEO,
    "audio_token_id": SOUND,
    "boa_token_id": SOUND_START,
    "eoa_token_id": SOUND_END,
    "eoa_token_index": SOUND_END,
}


def miniature_config(published: Mapping[str, Any], *, hears: bool = False) -> dict[str, Any]:
    """The miniature's config.json. As many layers as it takes for one without a window.

    `hears`: whether it has an audio tower. No layer takes keys and values of another. Raises
    UsageError for a config that lacks a part.
    """
    config, text, vision = miniature.copied(published, "text_config", "vision_config")
    kinds = text.pop("layer_types", None) or ["sliding_attention"] * 5 + ["full_attention"]
    kinds = kinds[: kinds.index("full_attention") + 1]
    words = len(vocabulary.vocabulary(SPECIAL_TOKENS))
    text.update(
        miniature.TEXT,
        head_dim=HEAD_DIM,
        global_head_dim=2 * HEAD_DIM,
        num_key_value_heads=miniature.key_value_heads(text),
        num_hidden_layers=len(kinds),
        layer_types=kinds,
        num_kv_shared_layers=0,
        use_double_wide_mlp=False,
        hidden_size_per_layer_input=PER_LAYER if text.get("hidden_size_per_layer_input") else 0,
        vocab_size=words,
        vocab_size_per_layer_input=words,
        bos_token_id=_id(BOS),
        eos_token_id=_id(EOS),
        # Rows of media get the first token's share of each layer, in vLLM whatever this says.
        pad_token_id=0,
    )
    if text.get("num_global_key_value_heads"):
        text["num_global_key_value_heads"] = 1
    vision.update(VISION)
    # The only kind that the tower knows; older files call it the default.
    vision["rope_parameters"] = {**(vision.get("rope_parameters") or {}), "rope_type": "axial"}
    config.update(
        {key: _id(token) for key, token in _IDS.items()},
        audio_config={**config["audio_config"], **AUDIO} if hears else None,
        dtype="float32",
        eos_token_id=[_id(EOS), _id("<turn|>")],
    )
    return config


def side_files(layout: Layout) -> dict[str, Any]:
    """Files beside config, weights and `tokenizer.json`."""
    pictures = {
        "do_convert_rgb": True,
        "do_normalize": False,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "patch_size": layout.patch,
        "pooling_kernel_size": layout.pool,
        "resample": 3,
        "rescale_factor": 1 / 255,
    }
    processor = {
        "image_seq_length": layout.most,
        "image_processor": {
            **pictures,
            "image_processor_type": "Gemma4ImageProcessor",
            "max_soft_tokens": layout.most,
        },
        "video_processor": {
            **pictures,
            "video_processor_type": "Gemma4VideoProcessor",
            "do_normalize": True,
            "max_soft_tokens": layout.frame_most,
            "num_frames": 32,
        },
        "feature_extractor": {"feature_extractor_type": "Gemma4AudioFeatureExtractor"},
    }
    ends = {"bos": BOS, "eos": EOS, "pad": PAD}
    files = miniature.side_files(SPECIAL_TOKENS, PROCESSOR, ends, None, processor)
    tokenizer = files["tokenizer_config.json"]
    del tokenizer["additional_special_tokens"]
    files["tokenizer_config.json"] = {**tokenizer, "extra_special_tokens": dict(_NAMED)}
    return files


def _id(token: str) -> int:
    return vocabulary.token_id(SPECIAL_TOKENS, token)
