"""What is kept of tower and connector changes no number, and no adapter gets another's rows."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.sets import named
from mm_lora.checks.roles import of_each_role
from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder
from mm_lora.truth.reference import _as_json
from mm_lora.truth.worker import reference

TOKENS = list(range(300, 312))


@pytest.mark.parametrize("name", ["scout", "qwen2.5-vl", "internvl", "llava"])
def test_every_number_is_the_same_with_and_without(name: str) -> None:
    model = resolve(name)
    family = model.family
    names = [*of_each_role(family), of_each_role(family)[0]]
    with Builder(Path(sys.executable)) as builder:
        checkpoint = builder.checkpoint(model)
        built = builder.adapters(model, [named(family, one) for one in dict.fromkeys(names)])
    _, _, guard = reference._load(family.torch_side, str(checkpoint))
    pictures = [family.sizes.picture(size) for size in ("one", "few")]

    def numbers() -> list[dict[str, Any]]:
        return [
            reference.run(
                side=family.torch_side,
                checkpoint=str(checkpoint),
                adapter=str(built[one].plain or built[one].path),
                text="dice?",
                media=[_as_json(picture)],
                token_ids=TOKENS,
            )
            for one in names
            for picture in pictures
        ]

    with guard.memo.off():
        computed = numbers()
    assert guard.memo.hits == 0
    kept = numbers()
    assert guard.memo.hits > len(kept)
    assert kept == computed
    first, last = computed[: len(pictures)], computed[-len(pictures) :]
    assert first == last
    assert all(one["adapted"] != one["base"] for one in computed)


def test_a_weight_that_stays_changed_is_seen() -> None:
    model = resolve("qwen2.5-vl")
    with Builder(Path(sys.executable)) as builder:
        checkpoint = builder.checkpoint(model)
    loaded, _, guard = reference._load(model.family.torch_side, str(checkpoint))
    guard.require_base()
    weight = next(iter(loaded.parameters())).data.view(-1)
    before = weight[0].item()
    weight[0] += 1e-6
    with pytest.raises(RuntimeError, match="a weight changed"):
        guard.require_base()
    weight[0] = before
    guard.require_base()
