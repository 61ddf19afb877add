"""Tensor parallel: two ranks with a part of each layer, or of the pictures, answer as one does.

One adapter for every kind of sharded layer against transformers, and a mixed batch.
`data-encoder`: the ranks share the pictures out instead of the encoder's layers.
"""

import pytest

from mm_lora.asking import DICE_QUESTION, Picture, Request
from mm_lora.isolation.claims import MET, settle, until_met
from mm_lora.isolation.questions import everyone
from mm_lora.isolation.servers import TENANTS, on_two_ranks
from mm_lora.isolation.traffic import Traffic
from mm_lora.judging import Judge
from mm_lora.lab import Lab
from mm_lora.projections import CONNECTOR, LANGUAGE, TOWER
from mm_lora.served import Served

VISION = (*TOWER, *CONNECTOR, "projector")
PICTURES = (Picture(width=336, height=336), Picture(width=400, height=300, seed=1))
SHARDED = {"tensor": (*VISION, *LANGUAGE), "data-encoder": VISION}
EVERY = [
    pytest.param(mode, adapter, marks=on_two_ranks(mode, *adapters))
    for mode, adapters in SHARDED.items()
    for adapter in ("base", *adapters)
]


@pytest.mark.truth("reference")
@pytest.mark.check(
    "parallel/{model}/{mode}/{adapter}",
    title="{adapter} on two ranks ({mode}): the logprobs are transformers' own",
)
@pytest.mark.full
@pytest.mark.parametrize(("mode", "adapter"), EVERY)
def test_layer(model: str, mode: str, adapter: str, served: Served, check: Judge) -> None:
    request = Request(model=adapter, text=DICE_QUESTION, pictures=PICTURES)
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer, predict=adapter in LANGUAGE)
    check.agrees(
        truth.adapted,
        answer.logprobs,
        base=None if adapter == "base" else truth.base,
        predictors=truth.predicted,
        ties=truth.ties,
    )


@pytest.mark.check(
    "parallel/{model}/{mode}/mixed-batch",
    title="base and every adapter in one batch on two ranks ({mode}): each as when alone",
)
@pytest.mark.full
@pytest.mark.parametrize("mode", [pytest.param(m, marks=on_two_ranks(m)) for m in SHARDED])
def test_mixed_batch(model: str, mode: str, served: Served, check: Judge, lab: Lab) -> None:
    burst = (everyone(TENANTS, text=("base", "tower-mlp", "language-model")), ())
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3)
    settle(check, lab, f"{model}/parallel/{mode}", seen, MET)
