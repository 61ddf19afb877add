"""Worker job: teacher-forced logprobs by transformers, fp32, one adapter merged into the weights.

The original tensors are put back from copies, and a canary compares the base's own logprobs before
and after.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mm_lora.truth.worker import merging, mistakes
from mm_lora.truth.worker.routing import with_ties
from mm_lora.truth.worker.sparse_experts import skip_zero_rows


def run(
    *,
    checkpoint: str,
    adapter: str | None,
    text: str,
    pictures: Sequence[str],
    token_ids: Sequence[int] | None,
    count: int = 16,
    predict: Sequence[str] = (),
    peft: bool = False,
) -> dict[str, Any]:
    """Logprobs of `token_ids` after a chat prompt of base64 PNG `pictures` and `text`.

    `token_ids` None: of the `count` tokens that the model with the adapter answers, greedily.
    `predict`: names of mistakes (`mistakes`) whose wrong values are wanted too. `peft`: what PEFT's
    own forward gives, adapter not merged, too.
    Returns {"adapted", "ties", "base", "predicted", "peft", "prompt_tokens", "token_ids"}: one
    logprob a token; "ties" are what else is right (see `routing`), and each predictor's name has a
    list of the values that it foresees. Raises RuntimeError if the base is not the same after the
    adapter was taken out again.
    """
    model, processor, as_loaded = _load(checkpoint)
    inputs = _inputs(processor, text, pictures)
    if token_ids is None:
        originals = merging.merge(model, merging.deltas(Path(adapter)) if adapter else {})
        token_ids = _greedy(model, inputs, count)
        merging.restore(model, originals)
    base = _forced(model, inputs, token_ids)
    predicted: dict[str, list[list[float]]] = {}
    if adapter is not None:
        added = merging.deltas(Path(adapter))
        adapted, ties = _merged(model, added, inputs, token_ids)
        for names, wrong in mistakes.wrong(predict, model, Path(adapter), added):
            value, others = _merged(model, wrong, inputs, token_ids)
            for name in names:
                predicted.setdefault(name, []).extend([value, *others])
        if _canary(model, processor) != as_loaded:
            raise RuntimeError("canary: the base changed while an adapter was merged and taken out")
    else:
        adapted, ties = with_ties(model, lambda: _forced(model, inputs, token_ids))
    return {
        "token_ids": list(token_ids),
        "peft": _by_peft(checkpoint, adapter, inputs, token_ids) if peft and adapter else None,
        "adapted": adapted,
        "ties": ties,
        "base": base,
        "predicted": predicted,
        "prompt_tokens": int(inputs["input_ids"].shape[1]),
    }


@lru_cache(maxsize=2)
def _load(checkpoint: str) -> tuple[Any, Any, list[float]]:
    """Model, processor, and what the canary says while no adapter has been near the model."""
    model = _fresh(checkpoint)
    from transformers import AutoProcessor

    processors: Any = AutoProcessor
    processor = processors.from_pretrained(checkpoint, local_files_only=True)
    return model, processor, _canary(model, processor)


def _canary(model: Any, processor: Any) -> list[float]:
    """Logprobs that need every part of the model: one grey picture, one chunk, and a word."""
    from PIL import Image

    png = io.BytesIO()
    Image.new("RGB", (100, 80), (90, 120, 150)).save(png, "PNG")
    inputs = _inputs(processor, "canary", [base64.b64encode(png.getvalue()).decode()])
    return _forced(model, inputs, inputs["input_ids"][0, -4:].tolist())


def _fresh(checkpoint: str) -> Any:
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    import torch
    from transformers import Llama4ForConditionalGeneration

    model: Any = Llama4ForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    model.eval()
    skip_zero_rows(model)
    return model


def _inputs(processor: Any, text: str, pictures: Sequence[str]) -> Any:
    from PIL import Image

    opened = [Image.open(io.BytesIO(base64.b64decode(p))).convert("RGB") for p in pictures]
    parts: list[dict[str, Any]] = [{"type": "image"} for _ in opened]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return processor(
        text=prompt, images=opened or None, add_special_tokens=False, return_tensors="pt"
    )


def _forced(model: Any, inputs: Any, token_ids: Sequence[int]) -> list[float]:
    """log p(token_i | prompt, token_<i) for each i, one forward pass over prompt and answer."""
    import torch

    answer = torch.tensor([list(token_ids)], dtype=inputs["input_ids"].dtype)
    whole = torch.cat([inputs["input_ids"], answer], dim=1)
    pixels = inputs.get("pixel_values")
    with torch.inference_mode():
        logits = model(
            input_ids=whole,
            attention_mask=torch.ones_like(whole),
            pixel_values=None if pixels is None else pixels.to(torch.float32),
        ).logits[0]
    before = inputs["input_ids"].shape[1] - 1
    chosen = torch.log_softmax(logits[before : before + len(token_ids)].float(), dim=-1)
    return [float(v) for v in chosen.gather(1, answer[0][:, None])[:, 0]]


def _merged(
    model: Any, added: Mapping[str, Any], inputs: Any, token_ids: Sequence[int]
) -> tuple[list[float], list[list[float]]]:
    """Logprobs with `added` in the weights, and on the other side of each routing tie."""
    originals = merging.merge(model, added)
    try:
        return with_ties(model, lambda: _forced(model, inputs, token_ids))
    finally:
        merging.restore(model, originals)


def _greedy(model: Any, inputs: Any, count: int) -> list[int]:
    """The `count` likeliest tokens, one after the other, end-of-answer tokens included."""
    import torch

    pixels = inputs.get("pixel_values")
    arguments = {"pixel_values": None if pixels is None else pixels.to(torch.float32)}
    ids, past, answer = inputs["input_ids"], None, []
    with torch.inference_mode():
        for _ in range(count):
            out = model(input_ids=ids, past_key_values=past, use_cache=True, **arguments)
            past, arguments = out.past_key_values, {}
            answer.append(int(out.logits[0, -1].argmax()))
            ids = torch.tensor([answer[-1:]], dtype=ids.dtype)
    return answer


def _by_peft(checkpoint: str, adapter: str, inputs: Any, token_ids: Sequence[int]) -> list[float]:
    """The same logprobs by PEFT: the adapter beside the weights, in a model of its own."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(_fresh(checkpoint), adapter)
    model.eval()
    return _forced(model, inputs, token_ids)
