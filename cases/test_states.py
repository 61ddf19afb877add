"""States: answers that are long, one of several, or long after a text; and every prompt position.

A defect that acts late, far behind the prompt's beginning, or for some of several answers alone
leaves sixteen greedy tokens after a short prompt as they are.
"""

from dataclasses import replace

import pytest
from _pytest.mark import ParameterSet

from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import Names, of_each_role
from mm_lora.checks.running import Served
from mm_lora.checks.states.forced import judge_each, judge_forced
from mm_lora.checks.states.texts import filled
from mm_lora.core.asking import BASE, TEXT_QUESTION, Request
from mm_lora.families.family import Family

pytestmark = pytest.mark.truth("reference")
ON_SERVER = pytest.mark.server(adapters=of_each_role)

LONG, LATE = 128, 32
"""Tokens of a long answer, and how many of the last ones the adapter must act on."""

ANSWERS, BEAMS = 4, 3


def long_ones(family: Family) -> list[ParameterSet]:
    """The core has the language model's, whose adapter acts on each token anew."""
    names = of_each_role(family)
    return [
        pytest.param(name, marks=() if name == names[-1] else pytest.mark.full) for name in names
    ]


def positions(family: Family) -> list[tuple[str, str]]:
    return [(name, size) for size in ("one", "many") for name in (BASE, *of_each_role(family))]


def in_ids(family: Family) -> list[ParameterSet]:
    return [pytest.param(name, size, family.sizes.labels[size]) for name, size in positions(family)]


def on_pictures(family: Family) -> Names:
    """Input of /v1/responses has pictures, but no sounds."""
    return of_each_role(family) if "image" in family.media else ()


def on_text(family: Family) -> Names:
    """/v1/completions takes no pictures."""
    return (BASE, of_each_role(family)[-1])


@pytest.mark.check(
    "states/{model}/long-answer/{adapter}",
    title=f"{{adapter}} agrees with transformers over {LONG} tokens' logprobs",
)
@ON_SERVER
@pytest.mark.each("adapter", long_ones)
def test_long_answer(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    picture = served.family.sizes.picture("one")
    request = Request(model=adapter, pictures=(picture,), max_tokens=LONG)
    answer, counts = served.ask(request), slice(-LATE, None)
    judge_forced(check, context, served, "long answer", request, answer, counts=counts)


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/prompt-positions/{adapter}/{label}",
    title="{adapter} agrees with transformers at every position of a prompt ({label})",
)
@ON_SERVER
@pytest.mark.each(("adapter", "size", "label"), in_ids)
def test_prompt_positions(
    model: str, adapter: str, size: str, label: str, served: Served, check: Judge, context: Context
) -> None:
    picture = served.family.sizes.picture(size)
    request = Request(model=adapter, pictures=(picture,), prompt_logprobs=True)
    # From empty caches: the encoder's cache may hold the picture as a mixed batch left it.
    answer, counts = served.ask_cold(request), slice(-request.max_tokens)
    judge_forced(check, context, served, f"prompt, {label}", request, answer, counts=counts)


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/several/{adapter}",
    title=f"each of {ANSWERS} sampled answers to one request is {{adapter}}'s",
)
@ON_SERVER
@pytest.mark.each("adapter", of_each_role)
def test_several(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    picture = served.family.sizes.picture("one")
    request = Request(model=adapter, pictures=(picture,), seed=1 + context.seed, answers=ANSWERS)
    judge_each(check, context, served, "several answers", request)


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/beams/{adapter}",
    title=f"each of {BEAMS} beams of a search is {{adapter}}'s",
)
@ON_SERVER
@pytest.mark.each("adapter", of_each_role)
def test_beams(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    picture = served.family.sizes.picture("one")
    request = Request(model=adapter, pictures=(picture,), max_tokens=8, answers=BEAMS, beams=True)
    judge_each(check, context, served, "beams", request)


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/completions/{adapter}",
    title=f"each of {ANSWERS} answers of /v1/completions is {{adapter}}'s",
)
@ON_SERVER
@pytest.mark.each("adapter", on_text)
def test_completions(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    chat = Request(model=adapter, text=TEXT_QUESTION, seed=1 + context.seed, answers=ANSWERS)
    prompt = served.ask(replace(chat, answers=1)).prompt_ids
    check.claim(
        bool(prompt), expected="the prompt's tokens", observed=prompt, reason="vLLM tells none"
    )
    judge_each(check, context, served, "completions", replace(chat, prompt=prompt))


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/responses/{adapter}",
    title="{adapter} answers /v1/responses as transformers does",
)
@ON_SERVER
@pytest.mark.each("adapter", on_pictures)
def test_responses(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    picture = served.family.sizes.picture("one")
    request = Request(model=adapter, pictures=(picture,), responses=True)
    judge_forced(check, context, served, "responses", request, served.ask(request))


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/by-uuid/{adapter}",
    title="{adapter} sees in its own way a picture that another tenant has sent, named by its uuid",
)
@ON_SERVER
@pytest.mark.each("adapter", of_each_role)
def test_by_uuid(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    sent = Request(model=BASE, pictures=(served.family.sizes.picture("one"),), uuid=adapter)
    served.ask_cold(sent)
    request = replace(sent, model=adapter, pixels=False)
    answer = served.ask_again(request)
    judge_forced(check, context, served, "picture by uuid", request, answer)


@pytest.mark.full
@pytest.mark.check(
    "states/{model}/long-context/{adapter}",
    title="{adapter} agrees with transformers where prompt and answer reach max-model-len",
)
@ON_SERVER
@pytest.mark.each("adapter", of_each_role)
def test_long_context(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    most = served.spec.number("max-model-len", 0)
    picture = served.family.sizes.picture("one")
    request = filled(served, adapter, most - 16, (picture,))
    answer = served.ask(request)
    judge_forced(check, context, served, "long context", request, answer)
    check.proves(
        answer.prompt_tokens > most - 100,
        expected=f"a prompt of nearly {most} tokens",
        observed=answer.prompt_tokens,
        reason="the context is not full",
    )
