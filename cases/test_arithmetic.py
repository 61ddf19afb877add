"""Arithmetic: the predicted token counts against transformers' processor and vLLM's model class."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mm_lora.checks import flow_table
from mm_lora.checks.compare_counts import capability_mismatches, hook_mismatches, odd_counts
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.processor_question import JOB, alone, arguments, clip_mismatches, mismatches
from mm_lora.checks.roles import Names
from mm_lora.checks.running import Served
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.models import Model, resolve
from mm_lora.serving.hook_client import HookQuestion

CONFIG_COLUMNS = ("model", "layout", "as published for")
CONFIG_TITLE = "The served checkpoint's own vision geometry"
ODD_COLUMNS = ("model", "asked", "what vLLM's class answers")
ODD_TITLE = "Numbers of image tokens that no picture has: what vLLM's class answers"


@cache
def published(family: Family) -> dict[str, Model]:
    return {name: resolve(name) for name in family.published}


def require_published(model: str) -> Model:
    if model not in registry.published():
        raise NotApplicable(SkipReason.NOT_PUBLISHED)
    return resolve(model)


@pytest.fixture(scope="session")
def ask_processor(context: Context) -> Callable[[Family], Any]:
    """One question to a family's real processor for all its published models."""
    return cache(lambda family: context.worker.call(JOB, **arguments(published(family))))


@cache
def questions(family: Family) -> tuple[HookQuestion, ...]:
    """To a family's class in vLLM, about all its published models."""
    return tuple(
        HookQuestion(
            name,
            model.config,
            tuple(family.prefix_cases),
            tuple(family.hook_cases(model.layout)),
        )
        for name, model in published(family).items()
    )


@pytest.mark.every_model
@pytest.mark.check(
    "arithmetic/{model}/pictures/transformers",
    title="transformers' processor counts the same image and prompt tokens for every prompt",
)
def test_processor(
    model: str, check: Judge, context: Context, ask_processor: Callable[[Family], Any]
) -> None:
    found = require_published(model)
    answer = ask_processor(found.family)
    flows = flow_table.table_flows(found, context.picture_tokens)
    counts = alone(answer, found)
    cells = flow_table.transformers_cells(flows, [counts[flow.size] for flow in flows])
    flow_table.note(context.run.tables, found, flow_table.TRANSFORMERS, cells)
    bad = mismatches(answer, published(found.family))[model]
    check.equal([], [str(one) for one in bad], "transformers counts other tokens")


def videos(family: Family) -> Names:
    """One check for each model that takes videos."""
    return ("videos",) if "video" in family.media else ()


@pytest.mark.every_model
@pytest.mark.check(
    "arithmetic/{model}/{media}/transformers",
    title="transformers' processor counts the same rows and prompt tokens for every video",
)
@pytest.mark.each("media", videos)
def test_videos(
    model: str, media: str, check: Judge, ask_processor: Callable[[Family], Any]
) -> None:
    found = require_published(model)
    models = published(found.family)
    bad = clip_mismatches(ask_processor(found.family), models)[model]
    check.equal([], [str(one) for one in bad], "transformers counts other tokens")


@pytest.mark.every_model
@pytest.mark.truth("rows")
@pytest.mark.check(
    "arithmetic/{model}/rows/vllm-class",
    title="vLLM's model class counts the same tower and connector rows and names the same wrappers",
)
def test_class(model: str, check: Judge, context: Context) -> None:
    found = require_published(model)
    family = found.family
    answers = context.ask_class(family, questions(family))
    cases = family.hook_cases(found.layout)
    said = answers.models[model]
    flows = flow_table.table_flows(found, context.picture_tokens)
    cells = flow_table.hook_cells(flows, cases, said)
    flow_table.note(context.run.tables, found, flow_table.HOOK, cells)
    odd = context.table("odd-counts", ODD_TITLE, ODD_COLUMNS, brief=False)
    # One model's are enough: only the size of a unit differs.
    if not odd.rows:
        for line in odd_counts(said, cases):
            odd.add(model, *line)
    bad = [*capability_mismatches(answers), *hook_mismatches(said, cases, family.prefix_cases)]
    check.equal(
        [],
        [str(one) for one in bad],
        "vLLM's counts or prefixes differ from the arithmetic",
        family.predicted_rows(found.layout, bad),
    )


@pytest.mark.check(
    "arithmetic/{model}/config/served",
    title="the served checkpoint has a vision geometry whose arithmetic is verified",
)
@pytest.mark.server
def test_served_config(model: str, served: Served, check: Judge, context: Context) -> None:
    if context.is_remote:
        raise NotApplicable(SkipReason.NO_CONFIG)
    folder, family = Path(context.checkpoint(model)), served.family
    layout = family.layout(resolve(str(folder)).config, folder)
    like = [name for name, other in published(family).items() if other.layout == layout]
    context.table("served-config", CONFIG_TITLE, CONFIG_COLUMNS).add(
        model, family.describe(layout)[0], ", ".join(like) or "none"
    )
    check.claim(
        bool(like),
        expected=f"the geometry of one of {', '.join(published(family))}",
        observed=layout,
        reason="no verified row of the arithmetic belongs to this model",
    )
    check.equal(
        served.model.layout, layout, "the geometry differs from the one that its checks assume"
    )
