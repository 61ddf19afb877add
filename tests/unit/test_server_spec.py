"""Server specs: equality is the plan, so hashing, keys and JSON must not depend on chance."""

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from mm_lora.serving.server.spec import ServerSpec

SPEC = ServerSpec(
    model="scout",
    adapters=("all", "projector"),
    flags=(("max-lora-rank", "8"), ("enforce-eager", None), ("lora-target-modules", ("a", "b"))),
    env=(("VLLM_CPU_KVCACHE_SPACE", "1"),),
)


def test_equal_specs_are_one_key() -> None:
    other = replace(SPEC)
    assert other == SPEC
    assert {SPEC: 1}[other] == 1
    assert other.key == SPEC.key
    assert len(SPEC.key) == 8


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "maverick"},
        {"adapters": ("all",)},
        {"flags": ()},
        {"env": ()},
        {"patches": ()},
        {"start": "plain"},
        {"probe": True},
    ],
)
def test_everything_in_it_makes_another_server(changes: dict[str, object]) -> None:
    other = replace(SPEC, **changes)  # type: ignore[arg-type]
    assert other != SPEC
    assert other.key != SPEC.key


def test_json_can_be_written() -> None:
    data = json.loads(json.dumps(SPEC.as_json()))
    assert data["flags"][2] == ["lora-target-modules", ["a", "b"]]
    assert data["patches"] == ["auto"]
    assert data["start"] == "auto"


def test_flags_are_read_by_name() -> None:
    assert SPEC.flag("max-lora-rank") == "8"
    assert SPEC.number("max-lora-rank", 1) == 8
    assert SPEC.number("tensor-parallel-size", 1) == 1
    assert SPEC.has_flag("enforce-eager")
    assert SPEC.flag("enforce-eager") is None
    assert not SPEC.has_flag("dtype")


def test_label_names_what_is_unusual() -> None:
    assert SPEC.label == "scout, 2 adapters"
    unusual = replace(SPEC, flags=(("tensor-parallel-size", "2"),), patches=("auto", "no-cls"))
    assert unusual.label == "scout, 2 adapters, tp 2, no-cls"


def test_it_is_frozen_and_checks_start() -> None:
    with pytest.raises(FrozenInstanceError):
        SPEC.model = "x"  # type: ignore[misc]
    with pytest.raises(ValueError, match="warm"):
        ServerSpec(model="scout", start="warm")


def test_many_patches_are_counted_in_the_label() -> None:
    few = replace(SPEC, patches=("auto", "mutant-a", "mutant-b"))
    assert few.label == "scout, 2 adapters, mutant-a, mutant-b"
    many = replace(SPEC, patches=tuple(f"mutant-that-is-called-{at}" for at in range(20)))
    assert many.label == "scout, 2 adapters, 20 patches"
