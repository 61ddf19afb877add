"""Compares the layers that vLLM wrapped and the tensors that it used with transformers' modules.

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
from mm_lora.checks.mismatch import Mismatch
from mm_lora.core.table import Cell, Column, Kind
from mm_lora.families.family import Family
from mm_lora.families.modules import ModuleGroup
from mm_lora.serving.probe_records import AdapterUse, Worker

JOB = "linear-modules"
UNASKED = "tensors in the file"
_LAYERS, _PEFT, _MODULES = (
    Column(name, Kind.COUNT) for name in ("layers", "PEFT modules", "modules")
)
WRAPPED_COLUMNS = ("model", "group", "wrapped layers of vLLM", _LAYERS, "wrapper", _PEFT)
LEFT_COLUMNS = ("model", "module of transformers", _MODULES, "group", "reason in vLLM")


@dataclass(frozen=True)
class LeftOut:
    """A module that transformers offers and vLLM does not wrap, and vLLM's reason; "" for none."""

    path: str
    group: str
    reason: str


def wrapped_parts(family: Family, worker: Worker) -> dict[str, str]:
    """PEFT module path → the wrapped layer that serves it."""
    return {
        family.from_vllm(part): module.path for module in worker.modules for part in module.parts
    }


def group_mismatches(
    family: Family, group: ModuleGroup, offered: Iterable[str], worker: Worker
) -> list[Mismatch]:
    """Each module of the group is served by a wrapped layer, which holds the right wrapper."""
    parts = wrapped_parts(family, worker)
    by_path = {module.path: module for module in worker.modules}
    mine = [path for path in offered if group.has(path)]
    found = [] if mine else [Mismatch(group.name, "modules offered", "at least one", "none")]
    for path in mine:
        layer = by_path.get(parts.get(path, ""))
        if layer is None:
            found.append(Mismatch(path, "wrapped layer", family.layer_of(path), "none"))
            continue
        for what, said in (("held wrapper", layer.held), ("wrapper by prefix", layer.by_prefix)):
            if said != group.role:
                found.append(Mismatch(layer.path, what, group.role, said))
    unknown = [path for path in parts if group.has(path) and path not in mine]
    return found + [Mismatch(path, "in transformers", "offered", "unknown") for path in unknown]


def adapter_mismatches(
    family: Family, tensors: Sequence[str], coverage: Sequence[Mapping[str, Any]], use: AdapterUse
) -> list[Mismatch]:
    """Every tensor used by exactly one layer; modules and tensors per group as PEFT counted them.

    `coverage`: rows {"group", "modules", "tensors", …} of the built adapter.
    """
    used = tensor_use(tensors, use, family.to_vllm)
    found = [
        Mismatch(tensor, "layers that use it", 1, ", ".join(layers))
        for tensor, layers in used.used.items()
        if len(layers) != 1
    ]
    found += [Mismatch(tensor, "layers that use it", 1, "none") for tensor in used.ignored]
    found += [Mismatch(path, UNASKED, "some", "none") for path in used.unasked]
    expected = {row["group"]: (row["modules"], row["tensors"]) for row in coverage}
    observed = used_by_group(family, used.used)
    if expected != observed:
        found.append(Mismatch(use.adapter, "modules and tensors per group", expected, observed))
    return found


def used_by_group(family: Family, used: Iterable[str]) -> dict[str, tuple[int, int]]:
    """(modules, tensors) per group, of the tensors that were used."""
    tensors: Counter[str] = Counter()
    modules: dict[str, set[str]] = {}
    for tensor in used:
        path, _ = parted(tensor)
        group = family.group_of(path)
        name = group.name if group else "other"
        tensors[name] += 1
        modules.setdefault(name, set()).add(path)
    return {name: (len(modules[name]), count) for name, count in tensors.items()}


def left_out(family: Family, offered: Iterable[str], worker: Worker) -> list[LeftOut]:
    """The offered modules that no wrapped layer serves, each with vLLM's reason."""
    parts = wrapped_parts(family, worker)
    reasons = {row.path: row.reason for row in worker.unwrapped}
    found = []
    for path in offered:
        if path not in parts:
            group = family.group_of(path)
            reason = reasons.get(family.to_vllm(path)) or reasons.get(family.layer_of(path), "")
            found.append(LeftOut(path, group.name if group else "", reason))
    return found


def wrapped_rows(
    family: Family, model: str, group: ModuleGroup, worker: Worker
) -> list[list[Cell]]:
    """The group's wrapped layers as rows of a table, one for each shape of path."""
    mine = [
        (module, [part for part in module.parts if group.has(family.from_vllm(part))])
        for module in worker.modules
    ]
    shapes: dict[tuple[str, str], list[int]] = {}
    for module, parts in mine:
        if parts:
            shapes.setdefault((_shape(module.path), str(module.held)), []).append(len(parts))
    return [
        [model, group.name, shape, len(parts), held, sum(parts)]
        for (shape, held), parts in shapes.items()
    ]


def left_rows(model: str, left: Iterable[LeftOut]) -> list[list[Cell]]:
    """The modules left out as rows of a table, one for each shape of path and reason."""
    counts = Counter((_shape(one.path), one.group, one.reason) for one in left)
    return [
        [model, shape, count, group or "none", reason]
        for (shape, group, reason), count in counts.items()
    ]


def _shape(path: str) -> str:
    return re.sub(r"\.\d+\.", ".*.", path)
