"""Coverage: the right wrapper holds every group, and one layer uses each adapter tensor."""

import json
from collections.abc import Sequence

import pytest

from mm_lora.checks.adapter_use import tensor_names
from mm_lora.checks.compare_coverage import (
    JOB,
    LEFT_COLUMNS,
    WRAPPED_COLUMNS,
    adapter_mismatches,
    group_mismatches,
    left_out,
    left_rows,
    wrapped_rows,
)
from mm_lora.checks.context import Context
from mm_lora.checks.held_norms import file_norms, mismatches
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import Names, groups, last_connector, unwrapped
from mm_lora.checks.row_claims import require_mixed, require_rows, watch
from mm_lora.checks.running import Served
from mm_lora.core.asking import Request
from mm_lora.core.table import Cell, Column
from mm_lora.families.family import Family
from mm_lora.serving.probe_records import AdapterUse

ON_SERVER = pytest.mark.server(adapters=groups, probe=True)


def with_unwrapped(family: Family) -> Names:
    return (*unwrapped(family), *last_connector(family))


def every_name(family: Family) -> dict[str, list[str]]:
    """Every module name that can be wrapped on a CPU, those with known defects among them."""
    return {"lora-target-modules": list(family.every_target_module)}


EVERY_NAME = pytest.mark.server(adapters=with_unwrapped, probe=True, flags=every_name)


def wrapped_groups(family: Family) -> Names:
    return tuple(group.name for group in family.wrapped)


def offered(context: Context, model: str) -> list[str]:
    """The modules that transformers has for an adapter, of the checkpoint that is served."""
    config = json.loads((context.checkpoint(model) / "config.json").read_text(encoding="utf-8"))
    side = context.model(model).family.torch_side
    answer = context.worker.call(JOB, side=side, config=config)
    return [row["path"] for row in answer["modules"]]


def require_group(check: Judge, served: Served, context: Context, model: str, group: str) -> None:
    modules, family = offered(context, model), served.family
    for worker in served.workers():
        found = group_mismatches(family, family.groups[group], modules, worker)
        check.equal([], [str(one) for one in found], f"{group} is not wrapped as expected")
        add_rows(
            context,
            "coverage",
            "Coverage: wrapped layers of each module group",
            WRAPPED_COLUMNS,
            wrapped_rows(family, model, family.groups[group], worker),
        )


def add_rows(
    context: Context,
    name: str,
    title: str,
    columns: Sequence[Column | str],
    rows: list[list[Cell]],
) -> None:
    table = context.table(name, title, columns)
    for row in rows:
        if row not in table.rows:
            table.add(*row)


@pytest.mark.check(
    "coverage/{model}/{group}/wrapped",
    title="vLLM wraps every module of {group}, with the right wrapper",
)
@ON_SERVER
@pytest.mark.each("group", wrapped_groups)
def test_group(model: str, group: str, served: Served, check: Judge, context: Context) -> None:
    require_group(check, served, context, model, group)


@pytest.mark.check(
    "coverage/{model}/{adapter}/tensors",
    title="exactly one layer uses each tensor of {adapter}",
)
@ON_SERVER
@pytest.mark.each("adapter", groups)
def test_tensors(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    require_tensors(check, served, context, model, adapter)


def require_tensors(
    check: Judge, served: Served, context: Context, model: str, adapter: str
) -> None:
    request = Request(model=adapter, max_tokens=4)
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    uses = [use for use in served.probe.adapters() if use.adapter == adapter]
    workers = {worker.name for worker in served.workers()}
    check.equal(workers, {use.worker for use in uses}, "a worker never activated the adapter")
    require_uses(check, context, model, uses)


def require_uses(check: Judge, context: Context, model: str, uses: Sequence[AdapterUse]) -> None:
    """All adapters together: a known mistake in one must not hide another in the next."""
    family = context.model(model).family
    found, lines = [], []
    for use in uses:
        built = context.adapters(model, (use.adapter,))[use.adapter]
        mine = adapter_mismatches(family, tensor_names(built.path), built.coverage, use)
        found += mine
        lines += [f"{use.adapter}: {one}" for one in mine]
    wrong = ", ".join(dict.fromkeys(line.partition(":")[0] for line in lines))
    check.equal(
        [],
        lines,
        f"not every tensor is used exactly once: {wrong}",
        predicted_by=family.predicted_coverage(found),
    )


@pytest.mark.check(
    "coverage/{model}/adapters/every-tensor",
    title="exactly one layer uses each tensor of every adapter that this run activated",
)
@ON_SERVER
@pytest.mark.last
def test_every_tensor(model: str, served: Served, check: Judge, context: Context) -> None:
    # An adapter loaded while the server runs is not the spec's: its own checks know its file.
    uses = [use for use in served.probe.adapters() if use.adapter in served.spec.adapters]
    check.proves(
        bool(uses), expected="an adapter in use", observed="none", reason="no adapter was activated"
    )
    require_uses(check, context, model, uses)


@pytest.mark.check(
    "coverage/{model}/{adapter}/strength",
    title="every layer holds {adapter} at full strength: A as in the file, B times alpha / rank",
)
@ON_SERVER
@pytest.mark.each("adapter", groups)
def test_strength(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    request = Request(model=adapter, max_tokens=4)
    check.equal([], served.ask(request).problems(request, None), "the answer is not valid")
    latest = {use.worker: use for use in served.probe.adapters() if use.adapter == adapter}
    check.equal({worker.name for worker in served.workers()}, set(latest), "never activated")
    folder = context.adapters(model, (adapter,))[adapter].path
    norms = file_norms(folder, served.family.to_vllm)
    check.equal(
        [],
        mismatches(norms, list(latest.values()))[:8],
        "a layer holds the adapter at another strength",
    )


@pytest.mark.check(
    "coverage/{model}/modules/left-out",
    title="every module that vLLM leaves unwrapped has a known reason",
)
@ON_SERVER
def test_left_out(model: str, served: Served, check: Judge, context: Context) -> None:
    modules, family = offered(context, model), served.family
    for worker in served.workers():
        left = left_out(family, modules, worker)
        add_rows(
            context,
            "left-out",
            "Modules that transformers offers and vLLM does not wrap",
            LEFT_COLUMNS,
            left_rows(model, left),
        )
        check.equal([], [one.path for one in left if not one.reason], "left out without a reason")
        # What the flags leave out has checks of its own, on another server.
        grouped = {one.group: one.reason for one in left if one.group}
        expected = {g.name: g.unwrapped for g in family.groups.values() if g.unwrapped}
        check.equal(expected, grouped)


@pytest.mark.check(
    "coverage/{model}/{group}/wrapped",
    title="vLLM wraps {group} with the right wrapper when every module name is allowed",
)
@pytest.mark.full
@EVERY_NAME
@pytest.mark.each("group", unwrapped)
def test_unwrapped(model: str, group: str, served: Served, check: Judge, context: Context) -> None:
    require_group(check, served, context, model, group)
    require_tensors(check, served, context, model, group)


@pytest.mark.check(
    "coverage/{model}/{group}/rows",
    title="vLLM maps exactly the rows that {group} sees when every module name is allowed",
)
@pytest.mark.full
@EVERY_NAME
@pytest.mark.each("group", unwrapped)
def test_unwrapped_rows(model: str, group: str, served: Served, check: Judge) -> None:
    # The base alone: with no adapter in the batch no LoRA kernel runs, so that nothing dies.
    draw = served.family.sizes.picture
    requests = [
        Request(model=served.base, pictures=pictures, max_tokens=4)
        for pictures in ((draw("one"),), (draw("many"),), (draw("many", 1), draw("one", 1)))
    ]
    require_rows(check, served, watch(served, requests))


@pytest.mark.truth("reference")
@pytest.mark.check(
    "coverage/{model}/{group}/effect",
    title="an adapter on {group} changes the answer as much as in transformers",
)
@pytest.mark.full
@EVERY_NAME
@pytest.mark.each("group", unwrapped)
def test_unwrapped_effect(model: str, group: str, served: Served, check: Judge) -> None:
    for size in ("one", "many"):
        picture = served.family.sizes.picture(size)
        require_effect(check, served, Request(model=group, pictures=(picture,)))


def require_effect(check: Judge, served: Served, request: Request) -> None:
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer)
    check.agrees(truth.adapted, answer.logprobs, base=truth.base, predictors=truth.predicted)


@pytest.mark.check(
    "coverage/{model}/{group}/other-adapters",
    title="adapters on other layers still work while {group} is wrapped, alone and in one batch",
)
@pytest.mark.full
@EVERY_NAME
@pytest.mark.each("group", unwrapped)
def test_unwrapped_others(model: str, group: str, served: Served, check: Judge) -> None:
    draw = served.family.sizes.picture
    (elsewhere,) = last_connector(served.family)
    require_effect(check, served, Request(model=elsewhere, pictures=(draw("one"),)))

    def requests(turn: int) -> list[Request]:
        return [
            Request(model=name, pictures=(draw(size, 10 + turn),), max_tokens=4)
            for name in (group, served.base, elsewhere)
            for size in ("many", "one")
        ]

    require_mixed(check, served, requests)
