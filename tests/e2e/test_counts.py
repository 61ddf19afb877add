"""transformers' processor and vLLM's class, asked for real, agree with our arithmetic."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mm_lora.checks.compare_counts import capability_mismatches, hook_mismatches, odd_counts
from mm_lora.checks.compare_rows import kind_of
from mm_lora.checks.processor_question import JOB, arguments, asked_prompts, mismatches
from mm_lora.families.models import PUBLISHED, resolve
from mm_lora.serving.hook_client import (
    ONE_OF_EACH,
    HookQuestion,
    ask_hooks,
    count_inputs,
    odd_inputs,
)
from mm_lora.truth.build import Builder
from mm_lora.truth.worker_client import WorkerClient

PYTHON = Path(sys.executable)
MODELS = {name: resolve(name) for name in PUBLISHED}


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Path]:
    with Builder(PYTHON) as builder:
        yield builder.checkpoint(resolve("scout"))


def test_the_real_processor_agrees(checkpoint: Path) -> None:
    geometries = {name: model.geometry for name, model in MODELS.items()}
    with WorkerClient(PYTHON) as worker:
        answer = worker.call(JOB, **arguments(checkpoint, geometries))
    assert {
        name: [str(bad) for bad in found] for name, found in mismatches(answer, geometries).items()
    } == {name: [] for name in MODELS}
    for name, geometry in geometries.items():
        prompts = asked_prompts(geometry)
        assert len({(p.width, p.height) for prompt in prompts for p in prompt}) >= 14
        chunks = {p.flow(geometry).chunks for prompt in prompts for p in prompt}
        assert chunks == {1, *range(3, 18)}, name


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        # The ratio, not its square: twice the image tokens. A chunk lost: one tile less is cut.
        ({"pixel_shuffle_ratio": 0.5**0.5}, "image_tokens"),
        ({"max_chunks": 15}, "chunks"),
    ],
)
def test_a_processor_with_a_seeded_mistake_is_caught(
    checkpoint: Path, wrong: dict[str, float], what: str
) -> None:
    right = {"scout": MODELS["scout"].geometry}
    question = arguments(checkpoint, right)
    question["models"][0]["geometry"].update(wrong)
    with WorkerClient(PYTHON) as worker:
        found = mismatches(worker.call(JOB, **question), right)["scout"]
    assert what in {bad.what for bad in found}


QUESTIONS = [
    HookQuestion(
        name,
        model.config,
        ONE_OF_EACH,
        count_inputs(model.geometry) + odd_inputs(model.geometry),
    )
    for name, model in MODELS.items()
]
KINDS = {path: kind_of(path) or "" for path in ONE_OF_EACH}


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        ("mutant-forget-cls", "encoder rows"),
        ("mutant-ratio-not-squared", "connector rows"),
        ("mutant-adapter-under-tower", "wrapper"),
        ("mutant-chunk-lost", "encoder rows"),
    ],
)
def test_vllms_class_with_a_seeded_mistake_is_caught(mutant: str, what: str) -> None:
    answers = ask_hooks(PYTHON, QUESTIONS, patches=(mutant,))
    for name, model in MODELS.items():
        found = hook_mismatches(model.geometry, answers.models[name], KINDS)
        assert {bad.what for bad in found} >= {what}, name


def test_vllms_class_agrees() -> None:
    answers = ask_hooks(PYTHON, QUESTIONS)
    assert capability_mismatches(answers) == []
    for name, model in MODELS.items():
        answer = answers.models[name]
        assert [str(bad) for bad in hook_mismatches(model.geometry, answer, KINDS)] == []
        assert len(odd_counts(model.geometry, answer)) == len(odd_inputs(model.geometry))
