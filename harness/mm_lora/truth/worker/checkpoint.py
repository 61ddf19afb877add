"""Worker job: a family's miniature checkpoint, weights from a seed, tokenizer, processor."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mm_lora.families.torch_side import write_files
from mm_lora.truth.worker.sides import side_of


def run(
    *,
    side: str,
    folder: str,
    config: Mapping[str, Any],
    files: Mapping[str, Any],
    chat_template: str,
    seed: int,
) -> dict[str, Any]:
    """Write the checkpoint of `config` into the existing empty `folder`.

    `side`: the family's torch side. `files`: further JSON files by name. Same seed and versions,
    same bytes. Answers {"parameters": number of weights, "bytes": size of the weights' file}.
    """
    family = side_of(side)
    out = Path(folder)
    write_files(out, config, files, family.family.special_tokens, chat_template)
    model = family.meta_model(config)
    from safetensors.torch import save_file

    tied = family.tied(model)
    tensors = {
        family.weight_names(name): family.stored(
            name, family.random_tensor(name, tuple(tensor.shape), seed, tied)
        )
        for name, tensor in sorted(model.state_dict().items())
        if name not in tied
    }
    weights = out / family.weights_file
    save_file(tensors, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # newer safetensors write it for the owner alone
    return {
        "parameters": sum(tensor.numel() for tensor in tensors.values()),
        "bytes": weights.stat().st_size,
    }
