"""Arithmetic: our token counts against transformers' own processor and vLLM's own model class."""

from typing import Any

import pytest

from mm_lora.checks import flow_table
from mm_lora.checks.compare_counts import capability_mismatches, hook_mismatches, odd_counts
from mm_lora.checks.compare_rows import kind_of
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.processor_question import JOB, alone, arguments, mismatches
from mm_lora.checks.running import Served
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.core.table import Column, Kind
from mm_lora.families.models import PUBLISHED, resolve
from mm_lora.serving.hook_client import (
    ONE_OF_EACH,
    HookAnswers,
    HookQuestion,
    ask_hooks,
    count_inputs,
    odd_inputs,
)

MODELS = {name: resolve(name) for name in PUBLISHED}
GEOMETRIES = {name: model.geometry for name, model in MODELS.items()}
CONFIG_COLUMNS = (
    "model",
    Column("image_size", Kind.COUNT),
    Column("patch_size", Kind.COUNT),
    Column("pixel_shuffle_ratio", Kind.RATIO),
    "as published for",
)
CONFIG_TITLE = "The served checkpoint's own vision geometry"
ODD_COLUMNS = ("model", "asked", "what vLLM's class answers")
ODD_TITLE = "Image tokens that no picture has: what vLLM's class answers"


def require_published(model: str) -> None:
    if model not in MODELS:
        raise NotApplicable(SkipReason.NOT_PUBLISHED)


@pytest.fixture(scope="session")
def processor_answer(context: Context) -> dict[str, Any]:
    """One question to transformers' processor for all models."""
    return context.worker.call(JOB, **arguments(context.miniature("scout"), GEOMETRIES))


@pytest.fixture(scope="session")
def hook_answers(context: Context) -> HookAnswers:
    """One question to vLLM's model class for all models, without weights."""
    questions = [
        HookQuestion(
            name,
            model.config,
            ONE_OF_EACH,
            count_inputs(model.geometry) + odd_inputs(model.geometry),
        )
        for name, model in MODELS.items()
    ]
    return ask_hooks(
        context.server_python,
        questions,
        patches=context.vllm.feature,
        search=context.vllm.search,
        say=context.progress.say,
    )


@pytest.mark.every_model
@pytest.mark.check(
    "arithmetic/{model}/pictures/transformers",
    title="chunks, image tokens and prompt tokens of 38 prompts are the real processor's",
)
def test_processor(
    model: str, check: Judge, context: Context, request: pytest.FixtureRequest
) -> None:
    require_published(model)
    answer = request.getfixturevalue("processor_answer")
    flows = flow_table.table_flows(GEOMETRIES[model], context.picture_tokens)
    counts = alone(answer, model, GEOMETRIES[model])
    said = [counts[flow.width, flow.height] for flow in flows]
    cells = flow_table.transformers_cells(flows, said)
    flow_table.note(context.run.tables, MODELS[model], flow_table.TRANSFORMERS, cells)
    found = mismatches(answer, GEOMETRIES)[model]
    check.equal([], [str(bad) for bad in found], "our counts are not transformers'")


@pytest.mark.every_model
@pytest.mark.truth("rows")
@pytest.mark.check(
    "arithmetic/{model}/rows/vllm-class",
    title="encoder and connector rows and the wrapper kinds are what vLLM's class says",
)
def test_hook(model: str, check: Judge, context: Context, request: pytest.FixtureRequest) -> None:
    require_published(model)
    answers: HookAnswers = request.getfixturevalue("hook_answers")
    flows = flow_table.table_flows(GEOMETRIES[model], context.picture_tokens)
    said = answers.models[model]
    cells = flow_table.hook_cells(flows, said)
    flow_table.note(context.run.tables, MODELS[model], flow_table.HOOK, cells)
    odd = context.table("odd-counts", ODD_TITLE, ODD_COLUMNS, brief=False)
    # One model's are enough: only the size of a chunk differs.
    if not odd.rows:
        for line in odd_counts(GEOMETRIES[model], said):
            odd.add(model, *line.split(": ", 1))
    kinds = {path: kind_of(path) or "" for path in ONE_OF_EACH}
    bad = [*capability_mismatches(answers)]
    bad += hook_mismatches(GEOMETRIES[model], answers.models[model], kinds)
    check.equal([], [str(one) for one in bad], "vLLM's counts or prefixes are not ours")


@pytest.mark.check(
    "arithmetic/{model}/config/served",
    title="the served checkpoint's own config has a geometry whose row is verified here",
)
@pytest.mark.server
def test_served_config(model: str, served: Served, check: Judge, context: Context) -> None:
    if context.is_remote:
        raise NotApplicable(SkipReason.NO_CONFIG)
    own = resolve(str(context.checkpoint(model)))
    like = [name for name, geometry in GEOMETRIES.items() if geometry == own.geometry]
    context.table("served-config", CONFIG_TITLE, CONFIG_COLUMNS).add(
        model,
        own.geometry.image_size,
        own.geometry.patch_size,
        own.geometry.pixel_shuffle_ratio,
        ", ".join(like) or "none",
    )
    check.claim(
        bool(like),
        expected=f"the geometry of one of {', '.join(GEOMETRIES)}",
        observed=own.geometry,
        reason="no row of the arithmetic is this model's",
    )
    check.equal(
        context.model(model).geometry, own.geometry, "another geometry than its checks assume"
    )
