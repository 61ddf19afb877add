"""The reference's own parts against transformers' untouched ones, on the miniature."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder

TOKENS = [20, 30, 40, 50]


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    from mm_lora.families.llama4.torch_side import SIDE
    from mm_lora.truth.worker import reference

    scout = resolve("scout")
    with Builder(Path(sys.executable)) as builder:
        checkpoint = builder.checkpoint(scout)
    model, processor, _ = reference._load(scout.family.torch_side, str(checkpoint))
    return model, SIDE.inputs(processor, "dice?", [])


def test_experts_that_skip_zero_rows_say_what_transformers_says(loaded: tuple[Any, Any]) -> None:
    from mm_lora.families.llama4.torch_side import SIDE
    from mm_lora.truth.worker import reference

    model, inputs = loaded
    ours = reference._forced(SIDE, model, reference._Question(inputs, TOKENS))
    experts = [m for m in model.modules() if type(m).__name__ == "Llama4TextExperts"]
    replaced = [one.__dict__.pop("forward") for one in experts]
    theirs = reference._forced(SIDE, model, reference._Question(inputs, TOKENS))
    for one, forward in zip(experts, replaced, strict=True):
        one.forward = forward
    assert len(experts) == 4
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_a_tie_has_another_side(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from mm_lora.families.llama4 import routing
    from mm_lora.families.llama4.torch_side import SIDE
    from mm_lora.truth.worker import reference

    model, inputs = loaded

    def compute() -> list[float]:
        return reference._forced(SIDE, model, reference._Question(inputs, TOKENS))

    monkeypatch.setattr(routing, "TIE", 0.0)
    value, others = routing.with_ties(model, compute)
    assert others == []
    monkeypatch.setattr(routing, "TIE", 1.0)  # everything is a tie now
    again, others = routing.with_ties(model, compute)
    assert again == value
    assert len(others) == routing.LARGEST
    assert any(other != value for other in others)
    assert compute() == value  # no hook is left


def test_a_prompt_s_own_tokens_are_forced_too(loaded: tuple[Any, Any]) -> None:
    """The prompt's last token, asked as an answer to what is before it, has the same logprob."""
    from mm_lora.families.llama4.torch_side import SIDE
    from mm_lora.truth.worker import reference

    model, inputs = loaded
    ids = inputs["input_ids"]
    whole = reference._forced(SIDE, model, reference._Question(inputs, TOKENS, prompt=True))
    assert len(whole) == ids.shape[1] - 1 + len(TOKENS)
    shorter = reference._Question({"input_ids": ids[:, :-1]}, [int(ids[0, -1]), *TOKENS])
    assert whole[-len(TOKENS) - 1 :] == pytest.approx(reference._forced(SIDE, model, shorter))
