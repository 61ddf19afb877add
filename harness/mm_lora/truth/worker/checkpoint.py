"""Writes the miniature checkpoint: weights from a seed, tokenizer, processor. The worker's only."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mm_lora.families.llama4.vocabulary import answer_ids, tokenizer_json

GAIN = 0.8
"""Matrices are N(0, (GAIN/√fan_in)²): signals neither die out nor grow through the layers."""

BIAS = 0.05
LM_HEAD = "language_model.lm_head.weight"


def run(
    *,
    folder: str,
    config: Mapping[str, Any],
    files: Mapping[str, Any],
    chat_template: str,
    seed: int,
) -> dict[str, Any]:
    """Worker job: write the checkpoint of `config` into the existing empty `folder`.

    `files`: further JSON files by name. Same seed and versions, same bytes.
    Answers {"parameters": number of weights, "bytes": size of the weights' file}.
    """
    out = Path(folder)
    for name, content in {
        "config.json": config,
        "tokenizer.json": tokenizer_json(),
        **files,
    }.items():
        (out / name).write_text(
            json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    (out / "chat_template.jinja").write_text(chat_template, encoding="utf-8")
    from safetensors.torch import save_file

    tensors = {
        name: random_tensor(name, tuple(tensor.shape), seed)
        for name, tensor in sorted(meta_model(config).state_dict().items())
    }
    weights = out / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # newer safetensors write it for the owner alone
    return {
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "bytes": weights.stat().st_size,
    }


def meta_model(config: Mapping[str, Any]) -> Any:
    """transformers' Llama 4 of a config.json's content, on the meta device: no weights."""
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    from transformers.models.llama4 import Llama4Config, Llama4ForConditionalGeneration

    settled = Llama4Config.from_dict(dict(config))
    with torch.device("meta"):
        return Llama4ForConditionalGeneration(settled)


def random_tensor(name: str, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """The weight `name` in fp32; it depends on name, shape and seed alone, not on the others.

    Norms are 1, biases N(0, BIAS²), all else N(0, (GAIN/√fan_in)²). The head's rows are zero but
    for the words of `vocabulary`: any other token has logit 0, below the best of a hundred random
    words, so that answers are made of words and special tokens keep a finite logprob.
    """
    if name.endswith("norm.weight") or (len(shape) == 1 and "norm" in name and "bias" not in name):
        return torch.ones(shape)
    values = torch.randn(shape, generator=generator(seed, name), dtype=torch.float32)
    if name.endswith("bias"):
        return values * BIAS
    # nn.Linear keeps [out, in]; the routed experts' parameters are [expert, in, out].
    fan_in = shape[-2] if len(shape) == 3 else shape[-1]
    values *= GAIN / math.sqrt(fan_in)
    if name == LM_HEAD:
        words = torch.zeros(shape[0], 1)
        words[list(answer_ids())] = 1.0
        values *= words
    return values


def generator(*key: object) -> torch.Generator:
    """A random stream of its own for each key, the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
