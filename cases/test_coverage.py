"""Coverage: every group is wrapped by the right wrapper, every adapter tensor is used once."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from mm_lora.checks.adapter_use import tensor_names
from mm_lora.checks.compare_coverage import (
    JOB,
    LEFT_COLUMNS,
    WRAPPED_COLUMNS,
    adapter_mismatches,
    foreseen,
    group_mismatches,
    left_out,
    left_rows,
    wrapped_rows,
)
from mm_lora.checks.context import Context
from mm_lora.checks.held_norms import file_norms, mismatches
from mm_lora.checks.judging import Judge
from mm_lora.checks.row_claims import require_mixed, require_rows, watch
from mm_lora.checks.running import Served
from mm_lora.core.asking import Picture, Request
from mm_lora.core.table import Cell, Column
from mm_lora.families.llama4.modules import GROUPS
from mm_lora.serving.probe_records import AdapterUse

ADAPTERS = (
    "tower-attention",
    "tower-mlp",
    "vision-adapter",
    "projector",
    "language-model",
    "all",
)
ON_SERVER = pytest.mark.server(adapters=ADAPTERS, probe=True)
EVERY_NAME = pytest.mark.server(
    adapters=("patch-embedding", "projector"),
    probe=True,
    flags={
        "lora-target-modules": [
            *("qkv_proj", "o_proj", "fc1", "fc2", "linear_1", "linear"),
            *("gate_up_proj", "down_proj"),
        ]
    },
)
"""Every module name that can be wrapped on a CPU, the patch embedding's `linear` among them."""

PATCH_EMBEDDING = "patch-embedding"
ONE, MANY = Picture(width=336, height=336), Picture(width=700, height=400)


def offered(context: Context, model: str) -> list[str]:
    """The modules that transformers has for an adapter, of the checkpoint that is served."""
    config = json.loads((context.checkpoint(model) / "config.json").read_text(encoding="utf-8"))
    return [row["path"] for row in context.worker.call(JOB, config=config)["modules"]]


def require_group(check: Judge, served: Served, context: Context, model: str, group: str) -> None:
    modules = offered(context, model)
    for worker in served.workers():
        found = group_mismatches(GROUPS[group], modules, worker)
        check.equal([], [str(one) for one in found], f"{group} is not wrapped as it must be")
        add_rows(
            context,
            "coverage",
            "Coverage: wrapped layers of each module group",
            WRAPPED_COLUMNS,
            wrapped_rows(model, GROUPS[group], worker),
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
    title="every module of {group} that transformers has is held by the right wrapper",
)
@ON_SERVER
@pytest.mark.parametrize("group", [name for name in GROUPS if name != PATCH_EMBEDDING])
def test_group(model: str, group: str, served: Served, check: Judge, context: Context) -> None:
    require_group(check, served, context, model, group)


@pytest.mark.check(
    "coverage/{model}/{adapter}/tensors",
    title="each tensor of {adapter} is used by exactly one layer; counts are PEFT's own",
)
@ON_SERVER
@pytest.mark.parametrize("adapter", ADAPTERS)
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
    found, lines = [], []
    for use in uses:
        built = context.adapters(model, (use.adapter,))[use.adapter]
        mine = adapter_mismatches(tensor_names(built.path), built.coverage, use)
        found += mine
        lines += [f"{use.adapter}: {one}" for one in mine]
    wrong = ", ".join(dict.fromkeys(line.partition(":")[0] for line in lines))
    check.equal(
        [], lines, f"not every tensor is used once of {wrong}", predicted_by=foreseen(found)
    )


@pytest.mark.check(
    "coverage/{model}/adapters/every-tensor",
    title="so it is for every adapter that this whole run activated on the server",
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
    title="every layer holds A of {adapter} as in its file, and B times alpha/r",
)
@ON_SERVER
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_strength(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    request = Request(model=adapter, max_tokens=4)
    check.equal([], served.ask(request).problems(request, None), "the answer is not valid")
    latest = {use.worker: use for use in served.probe.adapters() if use.adapter == adapter}
    check.equal({worker.name for worker in served.workers()}, set(latest), "never activated")
    norms = file_norms(context.adapters(model, (adapter,))[adapter].path)
    check.equal([], mismatches(norms, list(latest.values()))[:8], "held in another size")


@pytest.mark.check(
    "coverage/{model}/modules/left-out",
    title="what transformers offers and vLLM does not wrap has a reason; no vision group is in it",
)
@ON_SERVER
def test_left_out(model: str, served: Served, check: Judge, context: Context) -> None:
    modules = offered(context, model)
    for worker in served.workers():
        left = left_out(modules, worker)
        add_rows(
            context,
            "left-out",
            "Modules that transformers offers and vLLM does not wrap",
            LEFT_COLUMNS,
            left_rows(model, left),
        )
        check.equal([], [one.path for one in left if not one.reason], "left out without a reason")
        # The profile leaves `linear` out: the patch embedding's own checks have another server.
        grouped = {one.group: one.reason for one in left if one.group}
        check.equal({PATCH_EMBEDDING: "not among --lora-target-modules"}, grouped)


@pytest.mark.check(
    "coverage/{model}/patch-embedding/wrapped",
    title="where every module name is wrapped, the patch embedding is held by the tower's wrapper",
)
@pytest.mark.full
@EVERY_NAME
def test_patch_embedding_wrapped(
    model: str, served: Served, check: Judge, context: Context
) -> None:
    require_group(check, served, context, model, PATCH_EMBEDDING)
    require_tensors(check, served, context, model, PATCH_EMBEDDING)


@pytest.mark.check(
    "coverage/{model}/patch-embedding/rows",
    title="the patch embedding is mapped the rows that it sees: p² a chunk, without class token",
)
@pytest.mark.full
@EVERY_NAME
def test_patch_embedding_rows(model: str, served: Served, check: Judge) -> None:
    # The base alone: with no adapter in the batch no LoRA kernel runs, so that nothing dies.
    requests = [
        Request(model=served.base, pictures=pictures, max_tokens=4)
        for pictures in ((ONE,), (MANY,), (replace(MANY, seed=1), replace(ONE, seed=1)))
    ]
    require_rows(check, served, watch(served, requests))


@pytest.mark.truth("reference")
@pytest.mark.check(
    "coverage/{model}/patch-embedding/effect",
    title="an adapter on the patch embedding moves the answer as transformers says",
)
@pytest.mark.full
@EVERY_NAME
def test_patch_embedding_effect(model: str, served: Served, check: Judge) -> None:
    for picture in (ONE, MANY):
        require_effect(check, served, Request(model=PATCH_EMBEDDING, pictures=(picture,)))


def require_effect(check: Judge, served: Served, request: Request) -> None:
    answer = served.ask(request)
    check.equal([], answer.problems(request, None), "the answer is not valid")
    truth = served.forced(request, answer)
    check.agrees(truth.adapted, answer.logprobs, base=truth.base)


@pytest.mark.check(
    "coverage/{model}/patch-embedding/other-adapters",
    title="where the patch embedding is wrapped, adapters elsewhere work too, mixed with it",
)
@pytest.mark.full
@EVERY_NAME
def test_patch_embedding_others(model: str, served: Served, check: Judge) -> None:
    require_effect(check, served, Request(model="projector", pictures=(ONE,)))

    def requests(turn: int) -> list[Request]:
        return [
            Request(model=name, pictures=(replace(picture, seed=10 + turn),), max_tokens=4)
            for name in (PATCH_EMBEDDING, served.base, "projector")
            for picture in (MANY, ONE)
        ]

    require_mixed(check, served, requests)
