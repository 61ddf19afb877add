"""The comparisons agree with right answers and name each of the four seeded mistakes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mm_lora.checks.compare_counts import (
    capability_mismatches,
    hook_mismatches,
    odd_counts,
    processor_mismatches,
)
from mm_lora.core.asking import Picture
from mm_lora.families import registry
from mm_lora.families.flow import Flow, HookCase, KnownFlow
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.families.models import resolve
from mm_lora.serving.hook_client import HookAnswer, HookAnswers, HookCount

LLAMA4 = registry.family("llama4")
SCOUT = Geometry(336, 14, 0.5)
CASES = LLAMA4.hook_cases(SCOUT)
PATHS = {
    "vision_model.model.layers.0.self_attn.qkv_proj": "tower",
    "vision_model.vision_adapter.mlp.fc1": "connector",
    "multi_modal_projector.linear_1": "connector",
    "language_model.model.layers.0.self_attn.qkv_proj": "language",
}
COUNTED = ("tile_rows", "tile_columns", "chunks", "image_tokens", "prompt_tokens")
"""What the torch side counts in the real processor's output."""


def flow_of(width: int, height: int) -> Flow:
    return LLAMA4.flow(SCOUT, Picture(width=width, height=height))


def hook_answer(
    *, cls: int = 1, ratio: float = 0.25, lost: int = 0, adapter: str = "connector"
) -> HookAnswer:
    """What a vLLM answers that forgets `cls`, takes another `ratio`, or has `lost` a chunk."""

    def count(tokens: int) -> HookCount:
        chunks = max(0, max(0, tokens) // 144 - lost)
        return HookCount(tokens, chunks * (576 + cls), round(chunks * 576 * ratio))

    wrappers = {**PATHS, "vision_model.vision_adapter.mlp.fc1": adapter}
    return HookAnswer("scout", None, wrappers, tuple(count(case.tokens) for case in CASES))


def processor_counts(flow: Flow, **wrong: int) -> dict[str, Any]:
    ours = flow.as_json()
    return {"name": "picture", **{quantity: ours[quantity] for quantity in COUNTED}, **wrong}


def forget_cls(flow: Flow) -> Flow:
    return replace(flow, rows={**flow.rows, "encoder": flow.rows["patch"]})


def ratio_not_squared(flow: Flow) -> Flow:
    rows = 2 * flow.rows["connector"]
    return replace(flow, rows={**flow.rows, "connector": rows}, tokens=rows)


def chunk_lost(flow: Flow) -> Flow:
    one = flow.rows["patch"] // flow.units
    rows = {**flow.rows, "patch": flow.rows["patch"] - one}
    details = {**flow.details, "chunks": flow.units - 1}
    return replace(flow, units=flow.units - 1, rows=rows, details=details)


def unmet(change: Callable[[Flow], Flow] = lambda flow: flow) -> list[tuple[KnownFlow, Any]]:
    """The known flows that our arithmetic does not meet once changed, with what it says instead."""
    found = []
    for known in LLAMA4.known_flows:
        picture = Picture(width=known.width, height=known.height)
        flow = LLAMA4.flow(resolve(known.model).layout, picture)
        said = change(flow).as_json()[known.quantity]
        if said != known.value:
            found.append((known, said))
    return found


def test_right_answers_have_no_mismatch() -> None:
    flow = flow_of(700, 400)
    assert unmet() == []
    assert processor_mismatches([flow], [processor_counts(flow)]) == []
    assert hook_mismatches(hook_answer(), CASES, PATHS) == []


@pytest.mark.parametrize(
    ("mistake", "quantity"),
    [
        (forget_cls, "encoder_rows"),
        (ratio_not_squared, "connector_rows"),
        (chunk_lost, "chunks"),
    ],
)
def test_known_flows_catch_wrong_arithmetic(mistake: Callable[[Flow], Flow], quantity: str) -> None:
    assert quantity in {known.quantity for known, _ in unmet(mistake)}


@pytest.mark.parametrize(
    ("wrong", "quantity"),
    [
        ({"chunks": 6}, "chunks"),
        ({"image_tokens": 2016}, "image_tokens"),
        ({"prompt_tokens": 1016}, "prompt_tokens"),
        ({"tile_rows": 3}, "tile_rows"),
        ({"a_quantity_that_we_do_not_have": 1}, "a_quantity_that_we_do_not_have"),
    ],
)
def test_the_processor_comparison_catches(wrong: dict[str, int], quantity: str) -> None:
    flow = flow_of(700, 400)
    (found,) = processor_mismatches([flow], [processor_counts(flow, **wrong)], where="scout")
    assert found.what == quantity
    assert str(found).startswith("scout picture: ")


def test_a_lost_picture_is_a_mismatch() -> None:
    flow = flow_of(336, 336)
    assert processor_mismatches([flow, flow], [processor_counts(flow)])


def test_a_picture_of_which_nothing_was_counted_is_a_mismatch() -> None:
    (found,) = processor_mismatches([flow_of(336, 336)], [{"name": "picture"}])
    assert found.what == "quantities counted"


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (hook_answer(cls=0), "tower rows"),
        (hook_answer(ratio=0.5), "connector rows"),
        (hook_answer(lost=1), "tower rows"),
        (hook_answer(adapter="tower"), "wrapper"),
        (HookAnswer("scout", None, PATHS, ()), "counts answered"),
        (
            HookAnswer("scout", None, PATHS, (HookCount(144, raised="E: x"),)),
            "the count hook",
        ),
    ],
)
def test_the_hook_comparison_catches(answer: HookAnswer, what: str) -> None:
    assert what in {found.what for found in hook_mismatches(answer, CASES, PATHS)}


def test_one_wrong_chunk_count_is_named() -> None:
    right = hook_answer()
    counts = [replace(c, tower=576) if c.tokens == 144 else c for c in right.counts]
    (found,) = hook_mismatches(replace(right, counts=tuple(counts)), CASES, PATHS)
    assert str(found) == "scout 1 chunks: tower rows is 576, expected 577"


def test_questions_without_a_right_answer_compare_nothing() -> None:
    odd = [case for case in CASES if not case.has_answer]
    counts = tuple(HookCount(case.tokens, 0, 0) for case in odd)
    (found,) = hook_mismatches(HookAnswer("scout", None, PATHS, counts), odd, PATHS)
    assert found.what == "counts with a right answer"


def test_every_whole_number_of_chunks_has_an_answer_and_nothing_else() -> None:
    answered = [(c.tokens, c.tower, c.connector) for c in CASES if c.has_answer]
    assert answered == [(144 * n, 577 * n, 144 * n) for n in range(1, 18)]
    odd = [case.tokens for case in CASES if not case.has_answer]
    assert odd == [0, -1, -144, 1, 143, 145, 287, 1009]


def test_odd_inputs_are_described_not_judged() -> None:
    lines = odd_counts(hook_answer(), CASES)
    assert len(lines) == sum(not case.has_answer for case in CASES)
    assert ("0 image tokens", "tower 0, connector 0") in lines
    assert ("145 image tokens", "tower 577, connector 144") in lines, "1 token dropped in silence"
    case = HookCase(label="-1 image tokens", tokens=-1)
    raised = HookAnswer("scout", None, {}, (HookCount(-1, raised="ValueError: no"),))
    assert odd_counts(raised, [case]) == [("-1 image tokens", "raises ValueError: no")]


@pytest.mark.parametrize(
    ("generation", "flag", "missing", "count"),
    [
        ("counts", True, (), 0),
        ("counts", False, (), 1),
        ("pair", None, (), 0),
        (None, None, ("get_mm_lora_token_counts",), 1),
    ],
)
def test_capability(
    generation: str | None, flag: bool | None, missing: tuple[str, ...], count: int
) -> None:
    answers = HookAnswers("0.32.0", generation, flag, missing)
    assert len(capability_mismatches(answers)) == count
