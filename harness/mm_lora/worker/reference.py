"""Worker job: teacher-forced logprobs by transformers, fp32, one adapter merged into the weights.

The merge is written from LoRA's definition, W + scale · B·A with scale = alpha / r (alpha / √r for
rsLoRA), not taken from PEFT, whose unloading does not restore a base exactly; the original tensors
are put back from copies, and a canary compares the base's own logprobs before and after.
"""

import base64
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

PREFIX = "base_model.model."


def run(
    *,
    checkpoint: str,
    adapter: str | None,
    text: str,
    pictures: Sequence[str],
    token_ids: Sequence[int],
    predict: bool = False,
) -> dict[str, Any]:
    """Logprobs of `token_ids` after a chat prompt of base64 PNG `pictures` and `text`.

    Returns {"adapted", "base", "prompt_tokens"}: one logprob a token. Raises RuntimeError if the
    base is not the same after the adapter was taken out again.
    """
    model, processor = _load(checkpoint)
    inputs = _inputs(processor, text, pictures)
    base = _forced(model, inputs, token_ids)
    adapted = base
    predicted: dict[str, list[float]] = {}
    if adapter is not None:
        deltas = _deltas(Path(adapter))
        originals = _merge(model, deltas)
        adapted = _forced(model, inputs, token_ids)
        _restore(model, originals)
        if predict:
            originals = _merge(model, _qk_rows_not_permuted(model, deltas))
            predicted["language-qk-rows-not-permuted"] = _forced(model, inputs, token_ids)
            _restore(model, originals)
        if _forced(model, inputs, token_ids) != base:
            raise RuntimeError("canary: the base changed while an adapter was merged and taken out")
    return {
        "adapted": adapted,
        "base": base,
        "predicted": predicted,
        "prompt_tokens": int(inputs["input_ids"].shape[1]),
    }


@lru_cache(maxsize=2)
def _load(checkpoint: str) -> tuple[Any, Any]:
    from mm_lora.inside import torchvision_schemas

    torchvision_schemas.declare()
    import torch
    from transformers import AutoProcessor, Llama4ForConditionalGeneration

    model: Any = Llama4ForConditionalGeneration.from_pretrained(
        checkpoint, dtype=torch.float32, attn_implementation="eager", local_files_only=True
    )
    model.eval()
    processors: Any = AutoProcessor
    return model, processors.from_pretrained(checkpoint, local_files_only=True)


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


def _deltas(folder: Path) -> dict[str, Any]:
    """scale · B·A of every module of a PEFT folder, by module path. Shapes [out, in]."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    tensors = load_file(folder / "adapter_model.safetensors")
    deltas = {}
    for key, a in tensors.items():
        if ".lora_A." not in key:
            continue
        path = key.removeprefix(PREFIX).partition(".lora_A.")[0]
        b = tensors[key.replace(".lora_A.", ".lora_B.")]
        deltas[path] = _scale(config, path) * (b.double() @ a.double())
    return deltas


def _qk_rows_not_permuted(model: Any, deltas: Mapping[str, Any]) -> dict[str, Any]:
    """What a server computes that permutes the rows of q and k on load, but not those of B.

    vLLM stores row (head, i, j) of q and k at (head, j, i), i < head_dim/2, j < 2; a B that is not
    permuted too lands on other rows. A predictor of a wrong value (known_defects.toml).
    """
    text = model.config.text_config
    heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads}
    wrong = dict(deltas)
    for path, delta in deltas.items():
        count = heads.get(path.rpartition(".")[2])
        if count and path.startswith("language_model."):
            rows, columns = delta.shape
            split = delta.view(count, 2, rows // count // 2, columns)
            wrong[path] = split.transpose(1, 2).reshape(rows, columns)
    return wrong


def _scale(config: Mapping[str, Any], path: str) -> float:
    """alpha / r of one module; a pattern that matches its path's end goes before the default."""
    rank = _pattern(config.get("rank_pattern") or {}, path, config["r"])
    alpha = _pattern(config.get("alpha_pattern") or {}, path, config["lora_alpha"])
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def _pattern(patterns: Mapping[str, float], path: str, default: float) -> float:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return value
    return default


def _merge(model: Any, deltas: Mapping[str, Any]) -> dict[str, Any]:
    """Add each delta to its module's weight; returns copies of the weights as they were."""
    import torch

    originals = {}
    with torch.no_grad():
        for path, delta in deltas.items():
            weight = model.get_submodule(path).weight
            originals[path] = weight.detach().clone()
            weight.copy_((weight.double() + delta).to(weight.dtype))
    return originals


def _restore(model: Any, originals: Mapping[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for path, weight in originals.items():
            model.get_submodule(path).weight.copy_(weight)
