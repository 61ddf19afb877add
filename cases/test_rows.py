"""Rows: what every wrapped layer of the server sees and is mapped, against our arithmetic."""

from functools import partial

import pytest

from mm_lora.checks import flow_table
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.row_claims import SHOWN, require_mixed, require_rows, watch
from mm_lora.checks.row_evidence import evidence, measured
from mm_lora.checks.running import Served
from mm_lora.core.asking import Picture, Request

ADAPTERS = ("tower-attention", "vision-adapter", "projector", "language-model")
ON_SERVER = pytest.mark.server(adapters=ADAPTERS, probe=True)
SIZES = ("one-chunk", "few-chunks", "many-chunks", "most-chunks")
"""The pictures of the token-flow table, in its order; the last is the most that a prompt holds."""

Noise = partial(Picture, kind="noise")
ask = partial(Request, max_tokens=4)


@pytest.mark.check(
    "arithmetic/{model}/rows/{chunks}",
    title="one picture, {chunks}: every layer sees and is mapped our rows, adapter or not",
)
@ON_SERVER
@pytest.mark.parametrize("chunks", SIZES)
def test_one_picture(
    model: str, chunks: str, served: Served, check: Judge, context: Context
) -> None:
    place = SIZES.index(chunks)
    flow = flow_table.table_flows(served.geometry, context.picture_tokens)[place]
    width, height = flow.width, flow.height
    pictures = (Noise(width=width, height=height, seed=100 + place),)
    watched = watch(
        served,
        [ask(model=name, pictures=pictures) for name in (served.base, ADAPTERS[place])],
    )
    cells = {(width, height): measured(watched.evidence.steps)}
    flow_table.note(context.run.tables, context.model(model), flow_table.MEASURED, cells)
    require_rows(check, served, watched)


@pytest.mark.check(
    "arithmetic/{model}/rows/{name}/several-pictures",
    title="three pictures in one request to {name}: every layer's rows are ours, in their order",
)
@ON_SERVER
@pytest.mark.parametrize("name", ["base", "tower-attention", "vision-adapter"])
def test_several_pictures(model: str, name: str, served: Served, check: Judge) -> None:
    tile = served.geometry.image_size
    pictures = tuple(
        Noise(width=w, height=h, seed=200 + i)
        for i, (w, h) in enumerate([(700, 400), (tile, tile), (100, 60)])
    )
    require_rows(check, served, watch(served, [ask(model=name, pictures=pictures)]))


@pytest.mark.check(
    "arithmetic/{model}/rows/text-only",
    title="without a picture only the language model's layers see rows",
)
@ON_SERVER
def test_text_only(model: str, served: Served, check: Judge) -> None:
    requests = [ask(model=name) for name in (served.base, *ADAPTERS)]
    require_rows(check, served, watch(served, requests))


@pytest.mark.check(
    "arithmetic/{model}/rows/several-requests",
    title="base and adapters batched together: each row gets its own request's adapter",
)
@ON_SERVER
def test_several_requests(model: str, served: Served, check: Judge) -> None:
    tile = served.geometry.image_size
    shapes = [(700, 400), (tile, tile), (400, 300), (100, 60), (tile + 1, tile)]
    names = (ADAPTERS[0], served.base, *ADAPTERS[1:])

    def requests(turn: int) -> list[Request]:
        seeds = range(300 + 10 * turn, 310 + 10 * turn)
        asked = zip(names * 2, shapes * 2, seeds, strict=True)
        return [
            ask(model=name, pictures=(Noise(width=w, height=h, seed=seed),))
            for name, (w, h), seed in asked
        ]

    require_mixed(check, served, requests)


@pytest.mark.check(
    "arithmetic/{model}/rows/every-step",
    title="every step that this whole run caused on the server had our rows and the right adapters",
)
@ON_SERVER
@pytest.mark.last
def test_every_step(model: str, served: Served, check: Judge, context: Context) -> None:
    seen = evidence(served.workers(), served.probe.since(), served.sent)
    lines = [str(one) for one in seen.mismatches]
    context.asker.observe(
        "every-step",
        model=model,
        steps=len(seen.steps),
        layers=seen.layers,
        encoded=sum(seen.encoded.values()),
        foreign=seen.foreign,
        lost=seen.lost,
    )
    check.equal([], lines[:SHOWN], f"{len(lines)} numbers inside the layers are not ours")
    check.proves(
        bool(seen.steps) and not seen.lost,
        expected="every line of the probe",
        observed=f"{len(seen.steps)} steps, {seen.lost} lines lost",
        reason="the probe's record is empty or has gaps",
    )
