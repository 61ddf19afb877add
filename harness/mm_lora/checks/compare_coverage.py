"""Compares what vLLM wrapped, and what it used of an adapter, with what transformers offers.

Pure: takes module paths, the probe's lists and the adapter's tensor names; returns mismatches and
table rows.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mm_lora.adapters.keys import parted
from mm_lora.checks.adapter_use import tensor_use
from mm_lora.checks.compare_counts import Mismatch
from mm_lora.families.llama4.modules import ModuleGroup, group_of
from mm_lora.serving.probe_records import AdapterUse, Worker

JOB = "linear-modules"
UNASKED = "tensors in the file"
SECOND_NAME, TWO_NAMES = ".experts._shared_experts.", "shared-expert-has-two-names"
WRAPPED_COLUMNS = ("model", "group", "wrapped layers of vLLM", "layers", "wrapper", "PEFT modules")
LEFT_COLUMNS = ("model", "module of transformers", "modules", "group", "reason in vLLM")
_PACKED = {
    **{f"{name}_proj": "qkv_proj" for name in "qkv"},
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}


@dataclass(frozen=True)
class LeftOut:
    """A module that transformers offers and vLLM does not wrap, and vLLM's reason; "" for none."""

    path: str
    group: str
    reason: str


def wrapped_parts(worker: Worker) -> dict[str, str]:
    """PEFT module path → the wrapped layer that serves it."""
    return {part: module.path for module in worker.modules for part in module.parts}


def group_mismatches(group: ModuleGroup, offered: Iterable[str], worker: Worker) -> list[Mismatch]:
    """Each module of the group is served by a wrapped layer, which holds the right wrapper."""
    parts = wrapped_parts(worker)
    by_path = {module.path: module for module in worker.modules}
    mine = [path for path in offered if group.has(path)]
    found = [] if mine else [Mismatch(group.name, "modules offered", "at least one", "none")]
    for path in mine:
        layer = by_path.get(parts.get(path, ""))
        if layer is None:
            found.append(Mismatch(path, "wrapped layer", _vllm_path(path), "none"))
            continue
        for what, said in (("held wrapper", layer.held), ("wrapper by prefix", layer.by_prefix)):
            if said != group.wrapper:
                found.append(Mismatch(layer.path, what, group.wrapper, said))
    unknown = [path for path in parts if group.has(path) and path not in mine]
    return found + [Mismatch(path, "in transformers", "offered", "unknown") for path in unknown]


def adapter_mismatches(
    tensors: Sequence[str], coverage: Sequence[Mapping[str, Any]], use: AdapterUse
) -> list[Mismatch]:
    """Every tensor used by exactly one layer; modules and tensors per group as PEFT counted them.

    `coverage`: rows {"group", "modules", "tensors", …} of the built adapter.
    """
    used = tensor_use(tensors, use)
    found = [
        Mismatch(tensor, "layers that use it", 1, ", ".join(layers))
        for tensor, layers in used.used.items()
        if len(layers) != 1
    ]
    found += [Mismatch(tensor, "layers that use it", 1, "none") for tensor in used.ignored]
    found += [Mismatch(path, UNASKED, "some", "none") for path in used.unasked]
    expected = {row["group"]: (row["modules"], row["tensors"]) for row in coverage}
    observed = used_by_group(used.used)
    if expected != observed:
        found.append(Mismatch(use.adapter, "modules and tensors per group", expected, observed))
    return found


def foreseen(found: Sequence[Mismatch]) -> tuple[str, ...]:
    """The predictor that explains all of `found`: layers with a second name, under which no
    adapter has a tensor. Empty for anything else."""
    second = (one.what == UNASKED and SECOND_NAME in one.where for one in found)
    return (TWO_NAMES,) if found and all(second) else ()


def used_by_group(used: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(modules, tensors) per group, of the tensors that were used."""
    tensors: Counter[str] = Counter()
    modules: dict[str, set[str]] = {}
    for tensor in used:
        path, _ = parted(tensor)
        group = group_of(path)
        name = group.name if group else "other"
        tensors[name] += 1
        modules.setdefault(name, set()).add(path)
    return {name: (len(modules[name]), count) for name, count in tensors.items()}


def left_out(offered: Iterable[str], worker: Worker) -> list[LeftOut]:
    """The offered modules that no wrapped layer serves, each with vLLM's reason."""
    parts = wrapped_parts(worker)
    reasons = {row.path: row.reason for row in worker.unwrapped}
    found = []
    for path in offered:
        if path not in parts:
            group = group_of(path)
            reason = reasons.get(path) or reasons.get(_vllm_path(path), "")
            found.append(LeftOut(path, group.name if group else "", reason))
    return found


def wrapped_rows(model: str, group: ModuleGroup, worker: Worker) -> list[list[str]]:
    """The group's wrapped layers as rows of a table, one for each shape of path."""
    mine = [
        (module, [part for part in module.parts if group.has(part)]) for module in worker.modules
    ]
    shapes: dict[tuple[str, str], list[int]] = {}
    for module, parts in mine:
        if parts:
            shapes.setdefault((_shape(module.path), str(module.held)), []).append(len(parts))
    return [
        [model, group.name, shape, str(len(parts)), held, str(sum(parts))]
        for (shape, held), parts in shapes.items()
    ]


def left_rows(model: str, left: Iterable[LeftOut]) -> list[list[str]]:
    """The modules left out as rows of a table, one for each shape of path and reason."""
    counts = Counter((_shape(one.path), one.group, one.reason) for one in left)
    return [
        [model, shape, str(count), group or "none", reason]
        for (shape, group, reason), count in counts.items()
    ]


def _vllm_path(path: str) -> str:
    """vLLM's name of a module of transformers: q, k and v are one layer there."""
    parent, _, name = path.rpartition(".")
    return f"{parent}.{_PACKED.get(name, name)}"


def _shape(path: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", path)
