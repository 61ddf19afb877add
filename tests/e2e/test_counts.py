"""transformers' processor and vLLM's class, asked for real, agree with our arithmetic."""

import sys
from pathlib import Path

import pytest

from mm_lora.checks.compare_counts import capability_mismatches, hook_mismatches, odd_counts
from mm_lora.checks.processor_question import JOB, arguments, mismatches
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.serving.hook_client import HookQuestion, ask_hooks
from mm_lora.truth.worker_client import WorkerClient

PYTHON = Path(sys.executable)
LLAMA4 = registry.family("llama4")
MODELS = {name: resolve(name) for name in LLAMA4.published}
ROLES = LLAMA4.prefix_cases


def test_the_real_processor_agrees() -> None:
    with WorkerClient(PYTHON) as worker:
        answer = worker.call(JOB, **arguments(MODELS))
    assert {
        name: [str(bad) for bad in found] for name, found in mismatches(answer, MODELS).items()
    } == {name: [] for name in MODELS}
    for name, model in MODELS.items():
        prompts = LLAMA4.questions(model.layout)
        assert len({(p.width, p.height) for prompt in prompts for p in prompt}) >= 14
        chunks = {LLAMA4.flow(model.layout, p.asked).units for prompt in prompts for p in prompt}
        assert chunks == {1, *range(3, 18)}, name


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        # The ratio, not its square: twice the image tokens. A chunk lost: one tile less is cut.
        ({"pixel_shuffle_ratio": 0.5**0.5}, "image_tokens"),
        ({"max_chunks": 15}, "chunks"),
    ],
)
def test_a_processor_with_a_seeded_mistake_is_caught(wrong: dict[str, float], what: str) -> None:
    right = {"scout": MODELS["scout"]}
    question = arguments(right)
    question["models"][0]["layout"].update(wrong)
    with WorkerClient(PYTHON) as worker:
        found = mismatches(worker.call(JOB, **question), right)["scout"]
    assert what in {bad.what for bad in found}


QUESTIONS = [
    HookQuestion(
        name,
        model.config,
        tuple(ROLES),
        tuple(LLAMA4.hook_cases(model.layout)),
    )
    for name, model in MODELS.items()
]
CASES = {question.name: question.cases for question in QUESTIONS}


@pytest.mark.parametrize(
    ("mutant", "what"),
    [
        ("mutant-forget-cls", "tower rows"),
        ("mutant-ratio-not-squared", "connector rows"),
        ("mutant-adapter-under-tower", "wrapper"),
        ("mutant-chunk-lost", "tower rows"),
    ],
)
def test_vllms_class_with_a_seeded_mistake_is_caught(mutant: str, what: str) -> None:
    answers = ask_hooks(PYTHON, LLAMA4.vllm, QUESTIONS, patches=(mutant,))
    for name, cases in CASES.items():
        found = hook_mismatches(answers.models[name], cases, ROLES)
        assert {bad.what for bad in found} >= {what}, name


def test_vllms_class_agrees() -> None:
    answers = ask_hooks(PYTHON, LLAMA4.vllm, QUESTIONS)
    assert capability_mismatches(answers) == []
    for name, cases in CASES.items():
        answer = answers.models[name]
        assert [str(bad) for bad in hook_mismatches(answer, cases, ROLES)] == []
        assert len(odd_counts(answer, cases)) == 8
