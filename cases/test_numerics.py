"""Numerics: the whole answer's logprobs against transformers with the adapter merged, and PEFT's.

One adapter per projection, every group and all of them, on one picture of one chunk, one of many,
two pictures and text alone. Language-model q and k are where a predictor of a known defect counts.
"""

from collections.abc import Iterator

import pytest

from mm_lora.adapters.projections import CONNECTOR, LANGUAGE, PROJECTIONS, TOWER
from mm_lora.adapters.spec import STANDARD
from mm_lora.checks.context import Context, Foreseen
from mm_lora.checks.judging import Judge
from mm_lora.checks.numerics_table import add_row
from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, TEXT_QUESTION, Picture, Request

GROUPS = tuple(name for name in STANDARD if name != "patch-embedding")
SUBJECTS = (*TOWER, *CONNECTOR, "projector", *LANGUAGE, *(n for n in GROUPS if n != "projector"))
ON_SERVER = pytest.mark.server(adapters=SUBJECTS)
VISION_ONLY = (*TOWER, *CONNECTOR, "tower-attention", "tower-mlp", "vision-adapter", "projector")

pytestmark = pytest.mark.truth("reference")

VARIANTS: dict[str, tuple[str, tuple[Picture, ...]]] = {
    "1-chunk": (DICE_QUESTION, (Picture(width=336, height=336),)),
    "7-chunks": (DICE_QUESTION, (Picture(width=700, height=400),)),
    "two-pictures": (
        DICE_QUESTION,
        (Picture(width=336, height=336), Picture(width=400, height=300, seed=1)),
    ),
    "text-only": (TEXT_QUESTION, ()),
}


def asked(name: str, variant: str) -> Request:
    text, pictures = VARIANTS[variant]
    return Request(model=name, text=text, pictures=pictures)


def in_core(name: str, variant: str) -> bool:
    """One chunk for all, more for the groups, and the smallest case of a known defect."""
    if variant == "1-chunk" or (name, variant) == ("language-k_proj", "text-only"):
        return True
    return name in ("base", *GROUPS) and variant != "two-pictures"


EVERY = [
    pytest.param(name, variant, marks=() if in_core(name, variant) else pytest.mark.full)
    for variant in VARIANTS
    for name in ("base", *SUBJECTS)
]


def foreseen(model: str, adapter: str, variant: str) -> Iterator[Foreseen]:
    yield Foreseen(
        model=model,
        adapter="" if adapter == "base" else adapter,
        request=asked(adapter, variant),
        predict=has_language(adapter),
    )


def has_language(adapter: str) -> bool:
    return adapter in LANGUAGE or adapter in ("language-model", "pr35147", "all")


@pytest.mark.check(
    "numerics/{model}/{adapter}/{variant}",
    title="{adapter}, {variant}: 16 tokens' logprobs are transformers' own",
)
@ON_SERVER
@pytest.mark.foresee(asks=foreseen)
@pytest.mark.parametrize(("adapter", "variant"), EVERY)
def test_reference(
    model: str, adapter: str, variant: str, served: Served, check: Judge, context: Context
) -> None:
    request = asked(adapter, variant)
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer, predict=has_language(adapter))
    check.equal(truth.prompt_tokens, answer.prompt_tokens, "another prompt than the reference's")
    add_row(context, model, adapter, variant, answer, truth)
    if adapter in VISION_ONLY and variant == "text-only":
        check.equal(truth.base, truth.adapted, "a vision adapter moves the reference's text")
    acts = adapter != "base" and not (adapter in VISION_ONLY and variant == "text-only")
    check.agrees(
        truth.adapted,
        answer.logprobs,
        base=truth.base if acts else None,
        predictors=truth.predicted,
        ties=truth.ties,
    )


@pytest.mark.check(
    "numerics/{model}/{adapter}/unmerged",
    title="{adapter}: PEFT's own forward, not merged, agrees with the merged reference",
)
@pytest.mark.parametrize("adapter", [name for name in GROUPS if name != "pr35147"])
def test_peft_forward(model: str, adapter: str, context: Context, check: Judge) -> None:
    request = asked(adapter, "1-chunk")
    truth = context.forced(model, adapter, request, predict=has_language(adapter), peft=True)
    check.agrees(truth.peft, truth.adapted, base=truth.base)


assert set(PROJECTIONS) <= set(SUBJECTS), "a projection without a check"
