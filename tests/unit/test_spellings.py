"""Adapters in other trainers' keys: which there are, and what the keys become."""

import pytest

from mm_lora.adapters import sets
from mm_lora.adapters.spellings import SPELLINGS, spelled, spellings
from mm_lora.families import registry
from mm_lora.families.family import Family

QWEN = registry.family("qwen2.5-vl")
LLAVA = registry.family("llava")
KEY = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight"
TOWER = "base_model.model.model.visual.blocks.0.attn.qkv.lora_B.weight"


@pytest.mark.parametrize("name", sorted(registry.families()))
def test_every_group_has_each_spelling_that_differs(name: str) -> None:
    family = registry.family(name)
    found = list(spellings(family))
    groups = {group.name for group in family.wrapped}
    for spelling in ("no-prefix", "adapter-name", "inner-linear"):
        assert {group for one, group in found if one == spelling} == groups
    for spec in spelled(family).values():
        assert spec.form in SPELLINGS
        assert spec.pattern == sets.standard(family)[spec.stream].pattern


def test_older_names_are_of_families_that_were_renamed() -> None:
    named = {name for name in registry.families() if registry.family(name).older}
    assert {"qwen2-vl", "qwen2.5-vl", "llava", "gemma3"} <= named
    assert not {"llama4", "qwen3-vl", "lfm2-vl"} & named


@pytest.mark.parametrize(
    ("form", "family", "key", "becomes"),
    [
        ("older-names", QWEN, KEY, "model.layers.0.self_attn.q_proj.lora_A.weight"),
        ("older-names", QWEN, TOWER, "visual.blocks.0.attn.qkv.lora_B.weight"),
        (
            "older-names",
            LLAVA,
            KEY,
            "language_model.model.layers.0.self_attn.q_proj.lora_A.weight",
        ),
        ("text-class", QWEN, KEY, "model.layers.0.self_attn.q_proj.lora_A.weight"),
        ("adapter-name", QWEN, TOWER, "model.visual.blocks.0.attn.qkv.lora_B.default.weight"),
        ("inner-linear", QWEN, TOWER, "model.visual.blocks.0.attn.qkv.linear.lora_B.weight"),
    ],
)
def test_keys(form: str, family: Family, key: str, becomes: str) -> None:
    assert spelled_as(form, family, key) == f"base_model.model.{becomes}"


def spelled_as(form: str, family: Family, key: str) -> str:
    return SPELLINGS[form].respelled(family, key)


def test_a_key_without_prefix() -> None:
    assert spelled_as("no-prefix", QWEN, TOWER) == TOWER.removeprefix("base_model.model.")
