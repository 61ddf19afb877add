"""The miniature: published chunks and structure, small widths, one checkpoint for all parts.

Published models name the repositories of encoder and language model, and bring their processor as
code. Here all weights are in one file, and the processor is a file of our own.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families import miniature, vocabulary
from mm_lora.families.ultravox.layout import Layout, parts

AUDIO = "<|audio|>"
_ENDS = {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>", "pad": "<|end_of_text|>"}
SPECIAL_TOKENS = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eot_id|>", AUDIO),
)
"""Llama 3's. The sound's placeholder has an id of its own behind them; a published one has no token
of that id."""

BESIDE = Path(__file__).parent / "beside"
"""No package: code that runs where a checkpoint is loaded, never here."""
PROCESSING = "processing_ultravox.py"
PROCESSOR = "UltravoxProcessor"

_AUDIO: Mapping[str, Any] = {
    "model_type": "whisper",
    "d_model": 64,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 128,
    "vocab_size": 64,
    **{f"{name}_token_id": number for number, name in enumerate(("pad", "bos", "eos"))},
    "decoder_start_token_id": 1,
}
_KEPT_AUDIO = ("num_mel_bins", "max_source_positions", "activation_function", "scale_embedding")


def miniature_config(published: Mapping[str, Any]) -> dict[str, Any]:
    """The miniature's config.json. Raises UsageError for a config that lacks a part."""
    audio, _ = parts(published)
    config, text = miniature.copied(published, "text_config")
    if text.get("model_type", "llama") != "llama" or config.get("num_projector_layers"):
        raise UsageError(
            f"the language model is {text.get('model_type')!r}, or the projector has layers of "
            "attention",
            "text_config and num_projector_layers: a Llama and a plain projector are known here",
        )
    size = len(vocabulary.vocabulary(SPECIAL_TOKENS))
    text.update(
        miniature.TEXT,
        model_type="llama",
        num_key_value_heads=miniature.key_value_heads(text),
        head_dim=miniature.HEAD_DIM,
        vocab_size=size,
        tie_word_embeddings=False,
        **vocabulary.token_ids(SPECIAL_TOKENS, _ENDS),
    )
    config.update(
        dtype="float32",
        hidden_size=2 * miniature.TEXT_HIDDEN,
        audio_config={**{key: audio[key] for key in _KEPT_AUDIO if key in audio}, **_AUDIO},
        audio_token_index=vocabulary.token_id(SPECIAL_TOKENS, AUDIO),
        vocab_size=size,
    )
    return config


def side_files(layout: Layout) -> dict[str, Any]:
    """The checkpoint's files besides config, weights and `tokenizer.json`, by name."""
    return {
        **miniature.side_files(SPECIAL_TOKENS, PROCESSOR, _ENDS),
        PROCESSING: (BESIDE / PROCESSING).read_text(encoding="utf-8"),
        "preprocessor_config.json": {
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": 128,
            "sampling_rate": layout.rate,
            "hop_length": layout.hop,
            "chunk_length": layout.chunk * layout.hop // layout.rate,
            "n_fft": 400,
            "return_attention_mask": True,
        },
        "processor_config.json": {
            "processor_class": PROCESSOR,
            "stack_factor": layout.stack,
            "audio_context_size": layout.chunk,
            "auto_map": {
                "AutoProcessor": f"{PROCESSING.removesuffix('.py')}.{PROCESSOR}",
            },
        },
    }
