"""Evidence: what a stretch of steps proves, and which wrong values a predictor explains."""

from dataclasses import replace

import pytest

from mm_lora.checks.compare_rows import Sent
from mm_lora.checks.mismatch import Mismatch
from mm_lora.checks.row_evidence import evidence, measured, not_once
from mm_lora.core.asking import Picture
from mm_lora.families import registry
from mm_lora.families.llama4.explain import WITH_CLS
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.serving.probe_records import (
    Call,
    Mapped,
    Module,
    Observed,
    Request,
    Runs,
    Step,
    Worker,
)

LLAMA4 = registry.family("llama4")
SCOUT = Geometry(336, 14, 0.5)
WIDE = LLAMA4.flow(SCOUT, Picture(width=700, height=400))
QKV = "vision_model.model.layers.0.self_attn.qkv_proj"
PROJECTOR = "multi_modal_projector.linear_1"
TEXT = "language_model.model.layers.0.self_attn.qkv_proj"
PATCHES = "vision_model.patch_embedding.linear"
KINDS = {QKV: "tower", PROJECTOR: "connector", TEXT: "language", PATCHES: "tower"}
PARTS = {
    path: tuple(path.replace("qkv_proj", f"{name}_proj") for name in "qkv") for path in (QKV, TEXT)
}
WORKER = Worker(
    "probe-1",
    0,
    2,
    False,
    {},
    tuple(
        Module(path, "WithLoRA", "Linear", KINDS[path], KINDS[path], PARTS.get(path, (path,)), 1)
        for path in (QKV, PROJECTOR, TEXT)
    ),
    (),
    (),
)
ONE = Request("chatcmpl-one-8f", "dice", 1045, (0,))
TWO = Request("chatcmpl-two-8f", None, 1045, (0,))
SENT = {"chatcmpl-one": Sent("dice", (WIDE,)), "chatcmpl-two": Sent(None, (WIDE,))}


def call(path: str, *runs: tuple[str | None, int]) -> Call:
    given: Runs = runs
    rows = sum(n for _, n in given)
    return Call(rows, Mapped(KINDS[path], rows, given), (path,))


def encoder(*requests: Request) -> Step:
    return Step(
        "probe-1",
        1,
        1,
        "encoder",
        requests,
        (
            call(QKV, *((r.adapter, 4039) for r in requests)),
            call(PROJECTOR, *((r.adapter, 1008) for r in requests)),
        ),
    )


def test_right_steps() -> None:
    language = Step("probe-1", 2, 1, "language", (ONE,), (call(TEXT, ("dice", 1045)),))
    seen = evidence(LLAMA4, [WORKER], Observed((encoder(ONE, TWO), language)), SENT)
    assert seen.mismatches == ()
    assert (seen.foreign, seen.lost, seen.layers) == (0, 0, 3)
    assert (seen.largest_batch("encoder"), seen.most_adapters("encoder")) == (2, 2)
    assert (seen.largest_batch("language"), seen.most_adapters("language")) == (1, 1)
    assert seen.batches() == ["step 1 encoder: dice (1 pictures), base (1 pictures)"]
    assert not_once([WORKER], SENT, seen) == []


def test_no_steps_prove_nothing() -> None:
    seen = evidence(LLAMA4, [WORKER], Observed(()), SENT)
    assert (seen.largest_batch("encoder"), seen.most_adapters("encoder"), seen.layers) == (0, 0, 0)
    assert len(not_once([WORKER], SENT, seen)) == 2


def test_a_picture_encoded_twice_is_told() -> None:
    again = replace(encoder(ONE), seq=2, number=2)
    seen = evidence(LLAMA4, [WORKER], Observed((encoder(ONE), again)), SENT)
    assert not_once([WORKER], SENT, seen) == [
        "probe-1: picture 1 of chatcmpl-one encoded 2 times",
        "probe-1: picture 1 of chatcmpl-two encoded 0 times",
    ]


def test_a_second_pass_of_a_step_has_nothing_left_to_encode() -> None:
    again = replace(encoder(ONE), seq=2)
    seen = evidence(LLAMA4, [WORKER], Observed((encoder(ONE), again)), SENT)
    assert [(one.what, one.expected, one.observed) for one in seen.mismatches] == [
        ("calls", 0, 1),
        ("calls", 0, 1),
    ]


def test_steps_of_other_peoples_requests_are_set_aside_and_counted() -> None:
    other = Request("chatcmpl-other-1", "dice", 9, (0,))
    seen = evidence(LLAMA4, [WORKER], Observed((encoder(ONE), encoder(ONE, other)), 2, 1), SENT)
    assert (len(seen.steps), seen.foreign, seen.lost) == (1, 1, 3)


def test_a_wrong_row_is_a_mismatch() -> None:
    wrong = replace(
        encoder(ONE), calls=(call(QKV, ("dice", 4032)), call(PROJECTOR, ("dice", 1008)))
    )
    found = evidence(LLAMA4, [WORKER], Observed((wrong,)), SENT).mismatches
    assert {one.what for one in found} == {"rows that it saw", "rows mapped", "adapter of each row"}


def test_measured() -> None:
    assert measured(LLAMA4, WORKER, [encoder(ONE), encoder(TWO)]) == "4039 / 1008"
    wrong = replace(encoder(ONE), calls=(Call(4039, Mapped("tower", 4032, ()), (QKV,)),))
    assert measured(LLAMA4, WORKER, [encoder(ONE), wrong]) == "4039, 4039 mapped 4032 / 1008"
    assert measured(LLAMA4, WORKER, []) == "none / none"


def test_rows_without_the_class_token_are_not_the_towers() -> None:
    patches = Module(PATCHES, "WithLoRA", "Linear", "tower", "tower", (PATCHES,), 1)
    whole = replace(WORKER, modules=(*WORKER.modules, patches))
    step = encoder(ONE)
    step = replace(step, calls=(*step.calls, call(PATCHES, ("dice", 4032))))
    assert measured(LLAMA4, whole, [step]) == "4039 / 1008"
    assert evidence(LLAMA4, [whole], Observed((step,)), SENT).mismatches == ()


RIGHT = [
    Mismatch(f"step 6 encoder {PATCHES}", "rows mapped", 4032, 4039),
    Mismatch(f"step 6 encoder {PATCHES}", "adapter of each row", "base ×4032", "base ×4039"),
]


@pytest.mark.parametrize(
    ("found", "names"),
    [
        (RIGHT, (WITH_CLS,)),
        ([], ()),
        ([replace(RIGHT[0], observed=4038)], ()),
        ([replace(RIGHT[0], expected=4031)], ()),
        ([*RIGHT, replace(RIGHT[0], where=f"step 6 encoder {QKV}")], ()),
        ([*RIGHT, replace(RIGHT[0], what="rows that it saw")], ()),
        ([*RIGHT, replace(RIGHT[0], what="wrapper", observed="connector")], ()),
    ],
)
def test_the_predictor_explains_the_class_token_and_nothing_else(
    found: list[Mismatch], names: tuple[str, ...]
) -> None:
    assert LLAMA4.predicted_rows(SCOUT, found) == names
