"""Worker job: a real PEFT adapter directory from a model's config alone, on the meta device."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from mm_lora.adapters.keys import PREFIX
from mm_lora.families.family import Family
from mm_lora.families.torch_side import generator
from mm_lora.truth.worker import adapter_forms
from mm_lora.truth.worker.sides import side_of


def run(
    *, side: str, folder: str, config: Mapping[str, Any], spec: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the adapter of `spec` (AdapterSpec.as_json) for the model of `config` into `folder`.

    PEFT wraps the model on the meta device, which gives the adapter's true keys and shapes without
    the model's weights; only the LoRA tensors are then made. Same spec and versions, same bytes.
    Answers {"coverage": [{"group", "modules", "tensors", "parameters"}], "bytes"}; no row and no
    file if the spec targets no module of this model.
    """
    model = _model(side, json.dumps(config))  # before peft: it makes torchvision importable
    if not any(re.fullmatch(spec["target_pattern"], path) for path, _ in model.named_modules()):
        return {"coverage": [], "bytes": 0}
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    alpha = spec["alpha"]
    arguments = {"target_modules": spec["target_pattern"], **spec["peft"]}
    peft_config = LoraConfig(
        r=spec["rank"],
        lora_alpha=int(alpha) if alpha == int(alpha) else alpha,
        lora_dropout=0.0,
        bias="none",
        **arguments,
    )
    try:
        wrapped: Any = get_peft_model(model, peft_config, low_cpu_mem_usage=True)
    except BaseException:
        _model.cache_clear()  # PEFT leaves in it what it had wrapped by then
        raise
    shapes = {key: tuple(t.shape) for key, t in get_peft_model_state_dict(wrapped).items()}
    wrapped.unload()
    peft_config.inference_mode = True
    peft_config.save_pretrained(folder)
    _settle(Path(folder, "adapter_config.json"))
    tensors = {key: _values(key, shape, spec) for key, shape in sorted(shapes.items())}
    if spec["form"] != "own-names":
        names = side_of(side).saved_names
        tensors = {PREFIX + names(key.removeprefix(PREFIX)): t for key, t in tensors.items()}
    family = side_of(side).family
    files = adapter_forms.write(Path(folder), tensors, spec["form"], family)
    return {
        "coverage": coverage(shapes, family),
        "bytes": sum(file.stat().st_size for file in files),
    }


@lru_cache(maxsize=1)
def _model(side: str, config: str) -> Any:
    """The last model is kept: a large one takes seconds even without weights."""
    family = side_of(side)
    return family.without_idle(family.meta_model(json.loads(config)))


def _values(key: str, shape: tuple[int, ...], spec: Mapping[str, Any]) -> torch.Tensor:
    """A ~ N(0, 1/fan_in) as [rank, in], B ~ N(0, strength²/rank) as [out, rank]; a convolution's
    have more axes.

    So B·A·x has about the size of strength · x, whatever the rank and the widths.
    """
    gain = 1.0 if ".lora_A." in key else float(spec["strength"])
    stream = generator("adapter", spec["stream"] or spec["name"], spec["seed"], key)
    values = torch.randn(shape, generator=stream, dtype=torch.float32)
    return (values * (gain / math.sqrt(math.prod(shape[1:])))).to(getattr(torch, spec["dtype"]))


def _settle(file: Path) -> None:
    """Lists that PEFT makes of sets come in another order in each process: sort them."""
    content = json.loads(file.read_text(encoding="utf-8"))
    for key, value in content.items():
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            content[key] = sorted(value)
    file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def coverage(shapes: Mapping[str, Sequence[int]], family: Family) -> list[dict[str, Any]]:
    """Rows of the coverage table from an adapter's keys and shapes, in the order of the groups.

    A module in no group (a user's own adapter) is counted under "other".
    """
    rows: dict[str, dict[str, Any]] = {}
    modules: dict[str, set[str]] = {}
    for key, shape in shapes.items():
        module = key.removeprefix(PREFIX).partition(".lora_")[0]
        group = family.group_of(module)
        name = group.name if group else "other"
        row = rows.setdefault(name, {"group": name, "modules": 0, "tensors": 0, "parameters": 0})
        modules.setdefault(name, set()).add(module)
        row["tensors"] += 1
        row["parameters"] += math.prod(shape)
    for name, row in rows.items():
        row["modules"] = len(modules[name])
    return [rows[name] for name in (*family.groups, "other") if name in rows]
