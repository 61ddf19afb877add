"""Rows: the rows that every wrapped layer sees, and their adapters, against the arithmetic."""

from functools import partial

import pytest

from mm_lora.checks import flow_table
from mm_lora.checks.compare_rows import wrong_rows
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import Names, first_connector, first_tower, one_each
from mm_lora.checks.row_claims import DRAWN, SHOWN, require_mixed, require_rows, watch
from mm_lora.checks.row_evidence import evidence, measured
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE, Request, Shown
from mm_lora.families.family import Family

ON_SERVER = pytest.mark.server(adapters=one_each, probe=True)


def sizes(family: Family) -> Names:
    """The pictures of the token-flow table, in its order; the last: most that a prompt holds."""
    unit = family.sizes.unit
    return (f"one-{unit}", *(f"{count}-{unit}s" for count in ("few", "many", "most")))


def on_several(family: Family) -> Names:
    return (BASE, *first_tower(family), *first_connector(family))


def odd_sizes(served: Served) -> list[tuple[int, int]]:
    """Small and odd pictures beside the sizes by role, exactly one unit among them."""
    one = served.family.sizes.one
    return [one, served.family.sizes.small[-1], (one[0] + 1, one[1])]


def noise(served: Served, size: tuple[int, int], seed: int) -> Shown:
    return served.family.sizes.drawn(size, seed, "noise")


ask = partial(Request, max_tokens=4)


@pytest.mark.check(
    "arithmetic/{model}/rows/{size}",
    title="every layer sees a picture's predicted rows, mapped to the right adapter ({size})",
)
@ON_SERVER
@pytest.mark.each("size", sizes)
def test_one_picture(model: str, size: str, served: Served, check: Judge, context: Context) -> None:
    family = served.family
    place = sizes(family).index(size)
    shown = flow_table.table_flows(served.model, context.picture_tokens)[place].size
    pictures = (noise(served, shown, 100 + place),)
    watched = watch(
        served,
        [ask(model=name, pictures=pictures) for name in (served.base, one_each(family)[place])],
    )
    seen = measured(family, watched.workers[0], watched.evidence.steps)
    cells = {shown: seen}
    flow_table.note(context.run.tables, served.model, flow_table.MEASURED, cells)
    require_rows(check, served, watched)


@pytest.mark.check(
    "arithmetic/{model}/rows/{name}/several-pictures",
    title="every layer sees the predicted rows of three pictures in one request of {name}",
)
@ON_SERVER
@pytest.mark.each("name", on_several)
def test_several_pictures(model: str, name: str, served: Served, check: Judge) -> None:
    shapes = (served.family.sizes.many, *odd_sizes(served)[:2])
    pictures = tuple(noise(served, shape, 200 + i) for i, shape in enumerate(shapes))
    require_rows(check, served, watch(served, [ask(model=name, pictures=pictures)]))


@pytest.mark.check(
    "arithmetic/{model}/rows/text-only",
    title="only the language model's layers see rows when there is no picture",
)
@ON_SERVER
def test_text_only(model: str, served: Served, check: Judge) -> None:
    requests = [ask(model=name) for name in (served.base, *one_each(served.family))]
    require_rows(check, served, watch(served, requests))


@pytest.mark.check(
    "arithmetic/{model}/rows/several-requests",
    title="each row of a mixed batch gets the adapter of its own request",
)
@ON_SERVER
def test_several_requests(model: str, served: Served, check: Judge) -> None:
    one, *odd = odd_sizes(served)
    shapes = [served.family.sizes.many, one, served.family.sizes.few, *odd]
    adapters = one_each(served.family)
    names = (adapters[0], served.base, *adapters[1:])

    def requests(turn: int) -> list[Request]:
        seeds = range(300 + 10 * turn, 310 + 10 * turn)
        plan = zip(names * 2, shapes * 2, seeds, strict=True)
        return [
            ask(model=name, pictures=(noise(served, shape, seed),)) for name, shape, seed in plan
        ]

    require_mixed(check, served, requests)


@pytest.mark.check(
    "arithmetic/{model}/rows/every-step",
    title="every step of this run had the predicted rows, mapped to the right adapters",
)
@ON_SERVER
@pytest.mark.last
def test_every_step(model: str, served: Served, check: Judge, context: Context) -> None:
    if not served.probe.since().steps:
        # The last check may have ended the server, as a known defect says; the new one was idle.
        served.ask_again(Request(model=BASE, pictures=(served.family.sizes.picture("one"),)))
    seen = evidence(served.family, served.workers(), served.probe.since(), served.sent)
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
    check.equal(
        [],
        lines[:SHOWN],
        f"{len(lines)} numbers inside the layers differ from the arithmetic",
        served.family.predicted_rows(served.model.layout, seen.mismatches),
        wrong_rows(seen.mismatches)[:DRAWN],
    )
    check.proves(
        bool(seen.steps) and not seen.lost,
        expected="every line of the probe",
        observed=f"{len(seen.steps)} steps, {seen.lost} lines lost",
        reason="the probe's record is empty or has gaps",
    )
