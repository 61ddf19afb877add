"""Worker job: a picture's rows as the language model reads them, by transformers, as a file."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mm_lora.families.torch_side import TorchSide
from mm_lora.truth.worker import merging
from mm_lora.truth.worker.reference import decoded
from mm_lora.truth.worker.sides import side_of


def run(
    *,
    side: str,
    checkpoint: str,
    adapter: str | None,
    text: str,
    media: Sequence[Mapping[str, Any]],
    beside: Sequence[str],
    file: str,
) -> dict[str, Any]:
    """The rows of `media` in a chat prompt with `text`, by tower and connector with the adapter
    merged, written to `file` (.npy, [tokens, hidden], fp32).

    `side`, `media`: as of the reference's job. Returns {"rows", "beside": {name: numbers}}: how
    many rows, and what the processor says of the first medium under the names of `beside`.
    """
    import numpy as np

    family = side_of(side)
    model, processor = _load(side, checkpoint)
    inputs = family.inputs(processor, text, decoded(media))
    originals = merging.merge(family, model, merging.deltas(Path(adapter)) if adapter else {})
    try:
        rows = _rows(family, model, inputs)
    finally:
        merging.restore(family, model, originals)
    np.save(file, rows.numpy())
    return {
        "rows": int(rows.shape[0]),
        "beside": {name: inputs[name][0].tolist() for name in beside},
    }


@lru_cache(maxsize=1)
def _load(side: str, checkpoint: str) -> tuple[Any, Any]:
    """Not the reference's own model, whose canary stays as it is."""
    family = side_of(side)
    return family.load(checkpoint), family.processor(checkpoint)


def _rows(family: TorchSide, model: Any, inputs: Any) -> Any:
    """[tokens, hidden] in the places of media: where the language model's input is no token's
    embedding."""
    import torch

    given: list[Any] = []

    def note(module: Any, positional: Any, named: Mapping[str, Any]) -> None:
        if named.get("inputs_embeds") is not None:
            given.append(named["inputs_embeds"])

    ids = inputs["input_ids"]
    parts = [part for _, part in model.named_modules()]
    hooks = [part.register_forward_pre_hook(note, with_kwargs=True) for part in parts]
    try:
        with torch.inference_mode():
            model(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                **family.arguments(inputs, ids.shape[1]),
            )
            words = model.get_input_embeddings()(ids)
    finally:
        for hook in hooks:
            hook.remove()
    shown = (given[0] != words).any(dim=-1)
    return given[0][shown].float().contiguous()
