"""Adapter specs: the standard ones target what they say, and nonsense is refused."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.built import BuiltAdapter
from mm_lora.adapters.sets import known, named, projections, standard
from mm_lora.adapters.spec import AdapterSpec, of_groups, of_targets
from mm_lora.checks import adapter_table
from mm_lora.core.errors import UsageError
from mm_lora.core.table import Tables
from mm_lora.families import registry

LLAMA4 = registry.family("llama4")
STANDARD = standard(LLAMA4)

PATHS = [
    *(f"vision_model.model.layers.{n}.self_attn.{p}_proj" for n in range(2) for p in "qkvo"),
    *(f"vision_model.model.layers.{n}.mlp.fc{p}" for n in range(2) for p in (1, 2)),
    "vision_model.patch_embedding.linear",
    "vision_model.vision_adapter.mlp.fc1",
    "vision_model.vision_adapter.mlp.fc2",
    "multi_modal_projector.linear_1",
    *(f"language_model.model.layers.{n}.self_attn.{p}_proj" for n in range(4) for p in "qkvo"),
    *(
        f"language_model.model.layers.{n}.feed_forward.shared_expert.{p}_proj"
        for n in range(4)
        for p in ("gate", "up", "down")
    ),
    *(f"language_model.model.layers.{n}.feed_forward.router" for n in range(4)),
    "language_model.lm_head",
]


def targeted(spec: AdapterSpec) -> dict[str, int]:
    """Group → number of modules that PEFT would wrap."""
    counts: dict[str, int] = {}
    for path in PATHS:
        if re.fullmatch(spec.pattern, path):
            group = LLAMA4.group_of(path)
            name = group.name if group else "none"
            counts[name] = counts.get(name, 0) + 1
    return counts


TOWER, CONNECTOR = {"tower-attention": 8}, {"vision-adapter": 2, "projector": 1}


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("tower-attention", TOWER),
        ("tower-mlp", {"tower-mlp": 4}),
        ("vision-adapter", {"vision-adapter": 2}),
        ("projector", {"projector": 1}),
        ("language-model", {"language-model": 28}),
        ("pr35147", TOWER | CONNECTOR | {"language-model": 16}),
        ("all", TOWER | {"tower-mlp": 4} | CONNECTOR | {"language-model": 28}),
        ("patch-embedding", {"patch-embedding": 1}),
    ],
)
def test_standard_targets(name: str, counts: dict[str, int]) -> None:
    assert targeted(STANDARD[name]) == counts


def test_the_group_language_model_has_its_mlp_too() -> None:
    assert targeted(of_groups(LLAMA4, "x", ["language-model"])) == {"language-model": 28}


def test_standard_changed() -> None:
    changes: dict[str, Any] = {"alpha": 6.0, "dtype": "bfloat16", "seed": 3, "strength": 0.0}
    spec = replace(STANDARD["projector"], rank=4, **changes)
    assert (spec.name, spec.scaling, spec.dtype) == ("projector", 1.5, "bfloat16")
    assert STANDARD["projector"].rank == 8
    assert json.loads(json.dumps(spec.as_json()))["target_pattern"] == spec.pattern
    assert len({json.dumps(s.as_json()) for s in (spec, *STANDARD.values())}) == len(STANDARD) + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"rank": 0},
        {"rank": 1.5},
        {"rank": True},
        {"alpha": 0},
        {"alpha": float("nan")},
        {"dtype": "int8"},
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        replace(STANDARD["projector"], **changes)


def test_no_and_unknown_modules_are_refused() -> None:
    with pytest.raises(UsageError, match="no module group 'tower'") as raised:
        of_groups(LLAMA4, "x", ["tower"])
    assert "tower-mlp" in raised.value.check
    with pytest.raises(UsageError, match="'x' targets nothing"):
        of_groups(LLAMA4, "x", [])
    with pytest.raises(UsageError, match="'x' targets nothing"):
        of_targets("x", [])


def test_where_an_adapters_modules_lie() -> None:
    """What an adapter is said to reach, against the modules that its pattern takes."""
    for spec in known(LLAMA4).values():
        roles = {
            group.role
            for path in PATHS
            if re.fullmatch(spec.pattern, path) and (group := LLAMA4.group_of(path))
        }
        assert roles, spec.name
        if spec.roles:
            assert set(spec.roles) == roles, spec.name
        assert spec.reaches_language or "language" not in roles, spec.name
    for name in (*STANDARD, *projections(LLAMA4)):
        spec = named(LLAMA4, name)
        assert spec.roles, f"{name}: whether it reaches the language model must be known"


def test_unknown_adapter() -> None:
    with pytest.raises(UsageError, match="no adapter 'tower'") as raised:
        named(LLAMA4, "tower")
    assert "tower-mlp" in raised.value.check


def test_the_reports_table_tells_each_adapter_once() -> None:
    part = {"group": "projector", "modules": 1, "tensors": 2, "parameters": 2048}
    built = BuiltAdapter("projector", Path(), STANDARD["projector"], [part], 8192)
    tables = Tables()
    for _ in range(2):
        adapter_table.add_rows(tables, "scout", [built])
    assert tables["adapters"].rows == [["scout", "projector", 8, 16.0, "projector", 1, 2, 2048]]
