"""Tensor parallel: two ranks with a part of each layer, or of the pictures, answer as one does.

One adapter for every kind of sharded layer against transformers, and a mixed batch.
`data-encoder`: the ranks share the pictures out instead of the encoder's layers.
"""

from pathlib import Path

import pytest

from mm_lora.adapters.projections import CONNECTOR, LANGUAGE, TOWER
from mm_lora.checks.context import Context
from mm_lora.checks.isolation.claims import MET, settle, until_met
from mm_lora.checks.isolation.questions import ADAPTERS, everyone
from mm_lora.checks.isolation.servers import on_two_ranks
from mm_lora.checks.isolation.traffic import Traffic
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, Picture, Request

PICTURES = (Picture(width=336, height=336), Picture(width=400, height=300, seed=1))
LATER = "tower-v_proj"
"""Loaded over HTTP: where vLLM refuses it, a server that has it from the start would not start."""

TENANTS = {
    "tensor": ADAPTERS,
    "data-encoder": ("tower-mlp", "vision-adapter", "projector", "language-model"),
}
LAYERS = {
    "tensor": (*TOWER, *CONNECTOR, "projector", *LANGUAGE),
    # The encoder is all that differs, and each layer that fails ends two servers.
    "data-encoder": ("tower-fc1", "projector"),
}
MARKS = {mode: on_two_ranks(mode, *LAYERS[mode], *TENANTS[mode]) for mode in LAYERS}


@pytest.mark.truth("reference")
@pytest.mark.check(
    "parallel/{model}/{mode}/{adapter}",
    title="{adapter} on two ranks ({mode}): the logprobs are transformers' own",
)
@pytest.mark.full
@pytest.mark.parametrize(
    ("mode", "adapter"),
    [
        pytest.param(mode, adapter, marks=MARKS[mode])
        for mode, layers in LAYERS.items()
        for adapter in ("base", *layers)
    ],
)
def test_layer(model: str, mode: str, adapter: str, served: Served, check: Judge) -> None:
    require_reference(served, check, adapter)


def require_reference(served: Served, check: Judge, adapter: str) -> None:
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
@pytest.mark.parametrize("mode", [pytest.param(mode, marks=MARKS[mode]) for mode in MARKS])
def test_mixed_batch(model: str, mode: str, served: Served, check: Judge, context: Context) -> None:
    tenants = ("base", *TENANTS[mode])
    burst = (everyone(tenants, text=("base", "tower-mlp", "language-model")), ())
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3)
    settle(check, context, f"{model}/parallel/{mode}", seen, MET)


# The last ones on their servers, since what a refusal leaves behind would disturb others.


@pytest.mark.check(
    f"parallel/{{model}}/data-encoder/{LATER}",
    title=f"{LATER} on two ranks (data-encoder): loaded, and the logprobs are transformers' own",
)
@pytest.mark.full
@MARKS["data-encoder"]
def test_loaded_later(model: str, served: Served, check: Judge) -> None:
    status, said = served.load(LATER)
    check.claim(
        status == 200, expected=200, observed=f"{status}: {said}", reason="the adapter is refused"
    )
    require_reference(served, check, LATER)


@pytest.mark.check(
    "parallel/{model}/tensor/after-a-refusal",
    title="an adapter that two ranks refuse does no harm to the next one",
)
@pytest.mark.full
@MARKS["tensor"]
def test_after_a_refusal(
    model: str, served: Served, check: Judge, context: Context, tmp_path: Path
) -> None:
    status, said = served.load("nobody", tmp_path / "nowhere")
    check.claim(status >= 400, expected="a refusal", observed=f"{status}: {said}", reason="taken")
    folder = context.adapters(model, ("projector",))["projector"].path
    status, said = served.load("projector-again", folder)
    check.claim(
        status == 200,
        expected=200,
        observed=f"{status}: {said}",
        reason="a good adapter is refused after a bad one",
    )
