"""Worker job: teacher-forced logprobs by transformers, fp32, one adapter merged into the weights.

The original tensors are put back from copies. A checksum compares all weights before and after,
and every now and then a canary the base's own logprobs.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mm_lora.adapters.files import shapes
from mm_lora.adapters.keys import PREFIX
from mm_lora.families.torch_side import TorchSide
from mm_lora.truth.worker import merging, mistakes
from mm_lora.truth.worker.sides import side_of
from mm_lora.truth.worker.vision_memo import VisionMemo, vision_paths, weights_sum

CANARY_EVERY = 16
"""Adapters between two canaries; the checksum follows each."""


@dataclass(frozen=True)
class _Question:
    """The model's inputs and an answer; `prompt`: the prompt's own tokens count as well."""

    inputs: Any
    token_ids: Sequence[int]
    prompt: bool = False


def run(
    *,
    side: str,
    checkpoint: str,
    adapter: str | None,
    text: str,
    media: Sequence[Mapping[str, Any]],
    token_ids: Sequence[int] | None,
    count: int = 16,
    predict: Sequence[str] = (),
    predict_base: Sequence[str] = (),
    peft: bool = False,
    prompt: bool = False,
) -> dict[str, Any]:
    """Logprobs of `token_ids` after a chat prompt of `media` and `text`.

    `side`: the family's torch side. `media`: see `decoded`. `token_ids` None: of the `count` tokens
    that the model with the adapter answers, greedily. `predict`: names of mistakes (`mistakes`)
    whose wrong values are wanted too; `predict_base`: of the base's (`TorchSide.base_mistakes`).
    `peft`: what PEFT's own forward gives, adapter not merged, too. `prompt`: before the logprobs of
    the answer come those of the prompt's tokens but the first, in every list.
    Returns {"adapted", "ties", "base", "predicted", "mistaken", "mistaken_bases", "peft",
    "prompt_tokens", "prompt_ids", "token_ids"}: one logprob a token; "ties" are what else is right
    (`TorchSide.with_ties`), each predictor's name has a list of the values that it computes, and
    "mistaken" and "mistaken_bases" are adapted and base with each of the base's mistakes. Raises
    RuntimeError if the base is not the same after the adapter was taken out again.
    """
    family = side_of(side)
    model, processor, guard = _load(side, checkpoint)
    inputs = family.inputs(processor, text, decoded(media))
    if token_ids is None:
        added = merging.deltas(Path(adapter)) if adapter else {}
        originals = merging.merge(family, model, added)
        token_ids = family.greedy(model, inputs, count)
        merging.restore(family, model, originals)
    question = _Question(inputs, token_ids, prompt)
    base = _forced(family, model, question)
    predicted: dict[str, list[list[float]]] = {}
    if adapter is not None:
        added = merging.deltas(Path(adapter))
        adapted, ties = _merged(family, model, added, question)
        for names, wrong in mistakes.wrong(family, predict, model, Path(adapter), added):
            value, others = _merged(family, model, wrong, question)
            for name in names:
                predicted.setdefault(name, []).extend([value, *others])
        guard.require_base()
    else:
        adapted, ties = family.with_ties(model, lambda: _forced(family, model, question))
    mistaken, mistaken_bases = [], []
    for name in predict_base:
        context = family.base_mistakes[name](model)
        if context is None:
            continue
        with context, guard.memo.off():
            mistaken_bases.append(_forced(family, model, question))
            if adapter is None:
                value = mistaken_bases[-1]
            else:
                value, _ = _merged(family, model, added, question)
                for names, wrong in mistakes.wrong(family, predict, model, Path(adapter), added):
                    both, _ = _merged(family, model, wrong, question)
                    for other in names:
                        predicted.setdefault(other, []).append(both)
        mistaken.append(value)
        predicted.setdefault(name, []).append(value)
    wanted = peft and adapter is not None
    return {
        "token_ids": list(token_ids),
        "peft": _by_peft(family, checkpoint, str(adapter), question) if wanted else None,
        "adapted": adapted,
        "ties": ties,
        "base": base,
        "predicted": predicted,
        "mistaken": mistaken,
        "mistaken_bases": mistaken_bases,
        "prompt_tokens": int(inputs["input_ids"].shape[1]),
        "prompt_ids": inputs["input_ids"][0].tolist(),
    }


def decoded(media: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Media as JSON carries them, `kind` and `files` in base64, as the torch side takes them."""
    return [{**one, "files": [base64.b64decode(file) for file in one["files"]]} for one in media]


class Guard:
    """Knows the base as it was loaded, and what its vision parts have made."""

    def __init__(self, family: TorchSide, model: Any, processor: Any) -> None:
        self.memo = VisionMemo()
        self.memo.install(model, vision_paths(family, model))
        self._parts = (family, model, processor)
        self._asked = 0
        self._weights, self._logprobs = weights_sum(model), self._canary()

    def require_base(self) -> None:
        """Raise RuntimeError if the model is not as it was loaded."""
        self._asked += 1
        if weights_sum(self._parts[1]) != self._weights:
            raise RuntimeError("a weight changed while an adapter was merged and taken out")
        if self._asked % CANARY_EVERY == 0 and self._canary() != self._logprobs:
            raise RuntimeError("canary: the base changed while an adapter was merged and taken out")

    def _canary(self) -> list[float]:
        with self.memo.off():
            return _canary(*self._parts)


@lru_cache(maxsize=2)
def _load(side: str, checkpoint: str) -> tuple[Any, Any, Guard]:
    """Model, processor, and their guard, made while no adapter has been near the model."""
    family = side_of(side)
    model = family.load(checkpoint)
    processor = family.processor(checkpoint)
    return model, processor, Guard(family, model, processor)


def _canary(family: TorchSide, model: Any, processor: Any) -> list[float]:
    """Logprobs that need every part of the model: one small medium and a word."""
    inputs = family.inputs(processor, "canary", [family.canary()])
    return _forced(family, model, _Question(inputs, inputs["input_ids"][0, -4:].tolist()))


def _forced(family: TorchSide, model: Any, question: _Question) -> list[float]:
    """log p(token_i | token_<i) of each token that counts, one forward pass over all."""
    import torch

    logits = family.logits(model, question.inputs, question.token_ids)
    prompt = question.inputs["input_ids"][0].tolist()
    tokens = torch.tensor([*prompt, *question.token_ids])
    first = 1 if question.prompt else len(prompt)
    chosen = torch.log_softmax(logits[first - 1 : len(tokens) - 1].float(), dim=-1)
    return [float(v) for v in chosen.gather(1, tokens[first:, None])[:, 0]]


def _merged(
    family: TorchSide, model: Any, added: Mapping[str, Any], question: _Question
) -> tuple[list[float], list[list[float]]]:
    """Logprobs with `added` in the weights, and what else is right."""
    originals = merging.merge(family, model, added)
    try:
        return family.with_ties(model, lambda: _forced(family, model, question))
    finally:
        merging.restore(family, model, originals)


def _by_peft(family: TorchSide, checkpoint: str, adapter: str, question: _Question) -> list[float]:
    """The same logprobs by PEFT: the adapter beside the weights, in a model of its own."""
    from peft import PeftModel

    names = (key.removeprefix(PREFIX) for key in shapes(Path(adapter)))
    renamed = {
        f"^{re.escape(name)}$": own for name in names if (own := family.own_names(name)) != name
    }
    model = PeftModel.from_pretrained(family.load(checkpoint), adapter, key_mapping=renamed or None)
    model.eval()
    return _forced(family, model, question)
