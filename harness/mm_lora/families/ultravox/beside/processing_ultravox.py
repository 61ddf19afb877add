"""Lies beside a miniature's weights: the processor that transformers does not have.

A published checkpoint brings its own. This one hears each sound by itself, cuts its frames into
chunks, and says how many placeholders each chunk has.
"""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import AutoTokenizer, BatchFeature, ProcessorMixin, WhisperFeatureExtractor


class UltravoxProcessor(ProcessorMixin):  # type: ignore[misc,unused-ignore]
    """What vLLM asks of a processor: features of chunks, their frames and placeholders."""

    attributes: ClassVar[list[str]] = ["audio_processor", "tokenizer"]

    def __init__(self, audio_processor: Any, tokenizer: Any, stack: int, context: int) -> None:
        self.audio_processor, self.tokenizer = audio_processor, tokenizer
        self.stack, self.context = stack, context
        self.chat_template = getattr(tokenizer, "chat_template", None)
        self.audio_token_replacement = "<|audio|>"

    @classmethod
    def from_pretrained(  # type: ignore[override,unused-ignore]
        cls, folder: Any, **_: Any
    ) -> "UltravoxProcessor":
        """Of a checkpoint's folder."""
        known = json.loads(Path(folder, "processor_config.json").read_text(encoding="utf-8"))
        return cls(
            WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True),
            AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            known["stack_factor"],
            known["audio_context_size"],
        )

    def heard(self, samples: Any, rate: int) -> tuple[list[Any], list[int]]:
        """(features, frames) of each chunk of one sound, filled up with zeros."""
        hop = self.audio_processor.hop_length
        samples = np.asarray(samples, dtype=np.float32)
        samples = np.pad(samples, (0, max(2 * hop - len(samples), 0)))
        made = self.audio_processor(
            samples,
            sampling_rate=rate,
            padding="longest",
            pad_to_multiple_of=hop,
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        frames, features = int(made["attention_mask"].sum()), made["input_features"][0]
        chunks, lengths = [], []
        for start in range(0, frames, self.context):
            chunk = features[:, start : min(start + self.context, frames)]
            lengths.append(chunk.shape[-1])
            chunks.append(torch.nn.functional.pad(chunk, (0, self.context - chunk.shape[-1])))
        return chunks, lengths

    def __call__(
        self,
        text: Any = None,
        audios: Any = None,
        sampling_rate: int = 16000,
        return_tensors: Any = "pt",
        include_audio_num_chunks: bool = False,
        **_: Any,
    ) -> BatchFeature:
        """One text, with one placeholder for each sound; the caller repeats it."""
        data: dict[str, Any] = {}
        heard = [self.heard(one, sampling_rate) for one in (audios if audios is not None else ())]
        if heard:
            frames = torch.tensor([length for _, lengths in heard for length in lengths])
            data["audio_values"] = torch.stack([one for chunks, _ in heard for one in chunks])
            data["audio_lens"] = frames
            data["audio_token_len"] = -(-frames // (2 * self.stack))
            data["audio_num_chunks"] = torch.tensor([len(lengths) for _, lengths in heard])
        if text is not None:
            data.update(self.tokenizer(text, add_special_tokens=False, return_tensors="pt"))
        return BatchFeature(data)
