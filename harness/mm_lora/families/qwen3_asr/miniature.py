"""The miniature: published windows and structure, small widths, in transformers' own layout.

transformers does not read the released layout with `thinker_config`; vLLM reads both.
"""

from collections.abc import Mapping
from typing import Any

from mm_lora.families import miniature, vocabulary
from mm_lora.families.qwen3_asr.layout import Layout, parts

START, END, PAD = "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>"
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", START, END, PAD, "<asr_text>")
PROCESSOR = "Qwen3ASRProcessor"
THETA = 1000000.0

_AUDIO: Mapping[str, Any] = {
    "model_type": "qwen3_asr_encoder",
    "d_model": 64,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "downsample_hidden_size": 16,
    "output_dim": miniature.TEXT_HIDDEN,
}
_TEXT: Mapping[str, Any] = {
    "model_type": "qwen3",
    **miniature.TEXT,
    "num_key_value_heads": 2,
    "head_dim": miniature.HEAD_DIM,
    # A sound's places are the same on all three axes of mRoPE: plain RoPE.
    "rope_parameters": {"rope_type": "default", "rope_theta": THETA},
    "rope_theta": THETA,
}
_KEPT_AUDIO = ("num_mel_bins", "n_window", "n_window_infer", "activation_function")
_KEPT_TEXT = ("hidden_act", "rms_norm_eps", "attention_bias", "tie_word_embeddings")


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part."""
    audio, text = parts(published)
    tied = text.get("tie_word_embeddings", True)
    return {
        "architectures": ["Qwen3ASRForConditionalGeneration"],
        "model_type": "qwen3_asr",
        "dtype": "float32",
        "audio_config": {**{k: audio[k] for k in _KEPT_AUDIO if k in audio}, **_AUDIO},
        "text_config": {
            **{key: text[key] for key in _KEPT_TEXT if key in text},
            **_TEXT,
            "vocab_size": len(vocabulary.vocabulary(SPECIAL_TOKENS)),
            "tie_word_embeddings": tied,
        },
        "audio_token_id": _id(PAD),
        "pad_token_id": _id("<|endoftext|>"),
        "eos_token_id": [_id("<|im_end|>"), _id("<|endoftext|>")],
        "tie_word_embeddings": tied,
    }


def side_files(layout: Layout) -> dict[str, Any]:
    """The JSON files of the checkpoint besides config, weights and `tokenizer.json`, by name."""
    tokens = vocabulary.tokenizer_config(
        SPECIAL_TOKENS,
        PROCESSOR,
        miniature.MAX_POSITIONS,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokens["model_specific_special_tokens"] = {
        "audio_token": PAD,
        "audio_bos_token": START,
        "audio_eos_token": END,
    }
    return {
        "generation_config.json": {
            "eos_token_id": [_id("<|im_end|>"), _id("<|endoftext|>")],
            "pad_token_id": _id("<|endoftext|>"),
        },
        "preprocessor_config.json": {
            "feature_extractor_type": "Qwen3ASRFeatureExtractor",
            "processor_class": PROCESSOR,
            "feature_size": 128,
            "sampling_rate": layout.rate,
            "hop_length": layout.hop,
            "min_length": layout.shortest,
            "n_window": layout.half_window,
        },
        "processor_config.json": {"processor_class": PROCESSOR},
        "tokenizer_config.json": tokens,
    }


def _id(token: str) -> int:
    return vocabulary.token_id(SPECIAL_TOKENS, token)
