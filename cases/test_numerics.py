"""Numerics: an answer's logprobs against transformers with the adapter merged, and against PEFT.

One adapter per projection, every group and all of them, on one picture of one unit, one of many,
two pictures and text alone.
"""

from collections.abc import Iterator

import pytest
from _pytest.mark import ParameterSet

from mm_lora.checks.context import Context, Upcoming
from mm_lora.checks.judging import Judge
from mm_lora.checks.numerics_table import add_row
from mm_lora.checks.roles import Names, acts_on_text, everyone, predictable, subjects
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE, DICE_QUESTION, TEXT_QUESTION, Request, Shown
from mm_lora.families.family import Family

ON_SERVER = pytest.mark.server(adapters=subjects)
pytestmark = pytest.mark.truth("reference")

SIZES = ("one", "many")
TWO, TEXT = "two-pictures", "text-only"


def variants(family: Family) -> dict[str, tuple[str, tuple[Shown, ...]]]:
    """A picture of one unit, one of many, two pictures, text alone."""
    draw = family.sizes.picture
    sized = {family.sizes.labels[size]: (DICE_QUESTION, (draw(size),)) for size in SIZES}
    return {
        **sized,
        TWO: (DICE_QUESTION, (draw("one"), draw("few", seed=1))),
        TEXT: (TEXT_QUESTION, ()),
    }


def request_for(family: Family, name: str, variant: str) -> Request:
    text, pictures = variants(family)[variant]
    return Request(model=name, text=text, pictures=pictures)


def in_core(family: Family, name: str, variant: str) -> bool:
    """One unit for all, more for the groups, and the smallest case of a known defect."""
    if variant == family.sizes.labels["one"] or (name, variant) in family.core_numbers:
        return True
    return name in (BASE, *everyone(family)) and variant != TWO


def every(family: Family) -> list[ParameterSet]:
    return [
        pytest.param(
            name, variant, marks=() if in_core(family, name, variant) else pytest.mark.full
        )
        for variant in variants(family)
        for name in (BASE, *subjects(family))
    ]


def unmerged(family: Family) -> Names:
    return tuple(name for name in everyone(family) if name not in family.bundles)


def upcoming(family: Family, model: str, adapter: str, variant: str) -> Iterator[Upcoming]:
    yield Upcoming(
        model=model,
        adapter="" if adapter == BASE else adapter,
        request=request_for(family, adapter, variant),
        predict=predictable(family, adapter),
    )


@pytest.mark.check(
    "numerics/{model}/{adapter}/{variant}",
    title="{adapter} agrees with transformers over 16 tokens' logprobs ({variant})",
)
@ON_SERVER
@pytest.mark.upcoming(asks=upcoming)
@pytest.mark.each(("adapter", "variant"), every)
def test_reference(
    model: str, adapter: str, variant: str, served: Served, check: Judge, context: Context
) -> None:
    family = served.family
    request = request_for(family, adapter, variant)
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer, predict=predictable(family, adapter))
    check.equal(
        truth.prompt_tokens, answer.prompt_tokens, "the prompt differs from the reference's"
    )
    add_row(context, model, adapter, variant, answer, truth)
    untouched = adapter != BASE and variant == TEXT and not acts_on_text(family, adapter)
    if untouched:
        check.equal(truth.base, truth.adapted, "a vision adapter moves the reference's text")
    acts = adapter != BASE and not untouched
    check.agrees(
        truth.adapted,
        answer.logprobs,
        base=truth.base if acts else None,
        predictors=truth.predicted,
        ties=truth.ties,
    )


@pytest.mark.check(
    "numerics/{model}/{adapter}/unmerged",
    title="PEFT's unmerged forward of {adapter} agrees with the merged reference",
)
@pytest.mark.each("adapter", unmerged)
def test_peft_forward(model: str, adapter: str, context: Context, check: Judge) -> None:
    family = context.model(model).family
    request = request_for(family, adapter, family.sizes.labels["one"])
    predict = predictable(family, adapter)
    truth = context.forced(model, adapter, request, predict=predict, peft=True)
    check.agrees(truth.peft, truth.adapted, base=truth.base)
