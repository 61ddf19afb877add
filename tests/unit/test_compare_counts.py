"""The comparisons agree with right answers and name each of the four seeded mistakes."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from mm_lora.checks.compare_counts import (
    capability_mismatches,
    hook_mismatches,
    odd_counts,
    processor_mismatches,
)
from mm_lora.families.llama4.geometry import Geometry, TokenFlow, token_flow
from mm_lora.families.llama4.known_flows import unmet
from mm_lora.serving.hook_client import HookAnswer, HookAnswers, HookCount, count_inputs, odd_inputs

SCOUT = Geometry(336, 14, 0.5)
PATHS = {
    "vision_model.model.layers.0.self_attn.qkv_proj": "tower",
    "vision_model.vision_adapter.mlp.fc1": "connector",
    "multi_modal_projector.linear_1": "connector",
    "language_model.model.layers.0.self_attn.qkv_proj": "language",
}


def hook_answer(
    *, cls: int = 1, ratio: float = 0.25, lost: int = 0, adapter: str = "connector"
) -> HookAnswer:
    """What a vLLM answers that forgets `cls`, takes another `ratio`, or has `lost` a chunk."""

    def count(embeds: int) -> HookCount:
        chunks = max(0, max(0, embeds) // 144 - lost)
        return HookCount(embeds, chunks * (576 + cls), round(chunks * 576 * ratio))

    wrappers = {**PATHS, "vision_model.vision_adapter.mlp.fc1": adapter}
    inputs = count_inputs(SCOUT) + odd_inputs(SCOUT)
    return HookAnswer("scout", None, wrappers, tuple(count(embeds) for embeds in inputs))


def processor_counts(flow: TokenFlow, **wrong: int) -> dict[str, Any]:
    return {"name": "picture", **asdict(flow), **wrong}


def forget_cls(flow: TokenFlow) -> TokenFlow:
    return replace(flow, encoder_rows=flow.patch_rows)


def ratio_not_squared(flow: TokenFlow) -> TokenFlow:
    rows = 2 * flow.connector_rows
    return replace(flow, connector_rows=rows, image_tokens=rows)


def chunk_lost(flow: TokenFlow) -> TokenFlow:
    one = flow.patch_rows // flow.chunks
    return replace(flow, chunks=flow.chunks - 1, patch_rows=flow.patch_rows - one)


def test_right_answers_have_no_mismatch() -> None:
    flow = token_flow(SCOUT, 700, 400)
    assert unmet() == []
    assert processor_mismatches([flow], [processor_counts(flow)]) == []
    assert hook_mismatches(SCOUT, hook_answer(), PATHS) == []


@pytest.mark.parametrize(
    ("mistake", "quantity"),
    [
        (forget_cls, "encoder_rows"),
        (ratio_not_squared, "connector_rows"),
        (chunk_lost, "chunks"),
    ],
)
def test_known_flows_catch_wrong_arithmetic(
    mistake: Callable[[TokenFlow], TokenFlow], quantity: str
) -> None:
    def wrong(geometry: Geometry, width: int, height: int) -> TokenFlow:
        return mistake(token_flow(geometry, width, height))

    assert quantity in {known.quantity for known, _ in unmet(wrong)}


@pytest.mark.parametrize(
    ("wrong", "quantity"),
    [
        ({"chunks": 6}, "chunks"),
        ({"image_tokens": 2016}, "image_tokens"),
        ({"prompt_tokens": 1016}, "prompt_tokens"),
        ({"tile_rows": 3}, "tile_rows"),
    ],
)
def test_the_processor_comparison_catches(wrong: dict[str, int], quantity: str) -> None:
    flow = token_flow(SCOUT, 700, 400)
    (found,) = processor_mismatches([flow], [processor_counts(flow, **wrong)], where="scout")
    assert found.what == quantity
    assert str(found).startswith("scout picture: ")


def test_a_lost_picture_is_a_mismatch() -> None:
    flow = token_flow(SCOUT, 336, 336)
    assert processor_mismatches([flow, flow], [processor_counts(flow)])


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (hook_answer(cls=0), "encoder rows"),
        (hook_answer(ratio=0.5), "connector rows"),
        (hook_answer(lost=1), "encoder rows"),
        (hook_answer(adapter="tower"), "wrapper"),
        (HookAnswer("scout", None, PATHS, ()), "counts of whole chunks"),
        (
            HookAnswer("scout", None, PATHS, (HookCount(144, raised="E: x"),)),
            "the count hook",
        ),
    ],
)
def test_the_hook_comparison_catches(answer: HookAnswer, what: str) -> None:
    assert what in {found.what for found in hook_mismatches(SCOUT, answer, PATHS)}


def test_odd_inputs_are_described_not_judged() -> None:
    lines = odd_counts(SCOUT, hook_answer())
    assert len(lines) == len(odd_inputs(SCOUT))
    assert "0 image tokens: tower 0, connector 0 (as 0 chunks)" in lines
    assert any(line.startswith("145 ") and "1 tokens dropped" in line for line in lines)
    raised = HookAnswer("scout", None, {}, (HookCount(-1, raised="ValueError: no"),))
    assert odd_counts(SCOUT, raised) == ["-1 image tokens: raises ValueError: no"]


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
