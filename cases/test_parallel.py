"""Tensor parallel: two ranks that share the layers, or the pictures, answer as one rank does.

One adapter for every kind of sharded layer against transformers, and a mixed batch.
`data-encoder`: the ranks share the pictures out instead of the encoder's layers.
"""

from functools import partial
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from mm_lora.checks.context import Context
from mm_lora.checks.isolation import questions
from mm_lora.checks.isolation.claims import MET, judge_scenario, until_met
from mm_lora.checks.isolation.servers import on_two_ranks
from mm_lora.checks.isolation.traffic import Traffic
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import (
    Names,
    connectors,
    everyone,
    language,
    last_connector,
    predictable,
    projections,
    towers,
)
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE, DICE_QUESTION, Answer, Request
from mm_lora.families.family import Family
from mm_lora.families.modules import TOWER

MODES = ("tensor", "data-encoder")


def whose(mode: str, family: Family) -> Names:
    """Who meets in a mixed batch."""
    if mode == "tensor":
        return everyone(family)
    # The encoder is all that differs, and each layer that fails ends two servers.
    return (towers(family)[-1], *connectors(family), *language(family)[:1])


def layers(mode: str, family: Family) -> Names:
    """One adapter for every kind of sharded layer."""
    if mode == "tensor":
        return projections(family)
    mlp = family.roled(TOWER)[-1]
    return (next(iter(mlp.projections), mlp.name), *last_connector(family))


def loaded(mode: str, family: Family) -> Names:
    return tuple(dict.fromkeys((*layers(mode, family), *whose(mode, family))))


MARKS = {mode: on_two_ranks(mode, partial(loaded, mode)) for mode in MODES}


def every_layer(family: Family) -> list[ParameterSet]:
    return [
        pytest.param(mode, adapter, marks=MARKS[mode])
        for mode in MODES
        for adapter in (BASE, *layers(mode, family))
    ]


def later(family: Family) -> Names:
    """Loaded over HTTP: where vLLM refuses it, no server would start with it."""
    return (family.later,) if family.later else ()


@pytest.mark.truth("reference")
@pytest.mark.check(
    "parallel/{model}/{mode}/{adapter}",
    title="{adapter} on two ranks agrees with transformers ({mode})",
)
@pytest.mark.full
@pytest.mark.each(("mode", "adapter"), every_layer)
def test_layer(model: str, mode: str, adapter: str, served: Served, check: Judge) -> None:
    request = on_both_ranks(served, adapter)
    require_reference(served, check, request, served.ask(request))


def on_both_ranks(served: Served, adapter: str) -> Request:
    """Two pictures, so that each of two ranks that share them out has one."""
    draw = served.family.sizes.picture
    pictures = (draw("one"), draw("few", seed=1))
    return Request(model=adapter, text=DICE_QUESTION, pictures=pictures)


def require_reference(served: Served, check: Judge, request: Request, answer: Answer) -> None:
    adapter = request.model
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer, predict=predictable(served.family, adapter))
    check.agrees(
        truth.adapted,
        answer.logprobs,
        base=None if adapter == BASE else truth.base,
        predictors=truth.predicted,
        ties=truth.ties,
    )


@pytest.mark.check(
    "parallel/{model}/{mode}/mixed-batch",
    title="the base and every adapter answer in one batch on two ranks as they do alone ({mode})",
)
@pytest.mark.full
@pytest.mark.parametrize("mode", [pytest.param(mode, marks=MARKS[mode]) for mode in MARKS])
def test_mixed_batch(model: str, mode: str, served: Served, check: Judge, context: Context) -> None:
    family = served.family
    text = (BASE, towers(family)[-1], language(family)[0])
    burst = (questions.everyone(family, (BASE, *whose(mode, family)), text=text), ())
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3)
    judge_scenario(check, context, f"{model}/parallel/{mode}", seen, MET)


# The last ones on their servers, since what a refusal leaves behind would disturb others.


@pytest.mark.check(
    "parallel/{model}/data-encoder/{adapter}",
    title="{adapter} on two ranks (data-encoder): loaded, and the logprobs are transformers' own",
)
@pytest.mark.full
@MARKS["data-encoder"]
@pytest.mark.each("adapter", later)
def test_loaded_later(model: str, adapter: str, served: Served, check: Judge) -> None:
    def prepare() -> None:
        status, said = served.load(adapter)
        check.claim(
            status == 200,
            expected=200,
            observed=f"{status}: {said}",
            reason="the adapter is refused",
        )

    prepare()
    request = on_both_ranks(served, adapter)
    # A fresh server in the place of one that died has to load the adapter too.
    require_reference(served, check, request, served.ask_after(request, prepare))


@pytest.mark.check(
    "parallel/{model}/tensor/after-a-refusal",
    title="an adapter that two ranks refuse does not harm the next one",
)
@pytest.mark.full
@MARKS["tensor"]
def test_after_a_refusal(
    model: str, served: Served, check: Judge, context: Context, tmp_path: Path
) -> None:
    status, said = served.load("nobody", tmp_path / "nowhere")
    check.claim(status >= 400, expected="a refusal", observed=f"{status}: {said}", reason="taken")
    (good,) = last_connector(served.family)
    status, said = served.load(f"{good}-again", served.built(good))
    check.claim(
        status == 200,
        expected=200,
        observed=f"{status}: {said}",
        reason="a good adapter is refused after a bad one",
    )
