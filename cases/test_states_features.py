"""States: features of vLLM that meet adapters, each seen to be on while the answers were made.

Guessed tokens, scheduling ahead, an adapter by default, a picture's rows in place of its pixels,
sleep, several engines. Each answer is its own adapter's by the reference.
"""

from dataclasses import replace

import pytest

from mm_lora.adapters.sets import ALL
from mm_lora.checks.context import Context
from mm_lora.checks.isolation.batches import batches
from mm_lora.checks.isolation.traffic import LAST_SLOT, beside_last_slot
from mm_lora.checks.judging import Judge
from mm_lora.checks.lifecycle import guest, loaded
from mm_lora.checks.roles import Names, of_each_role, pair
from mm_lora.checks.running import Served
from mm_lora.checks.states import asleep, embeds
from mm_lora.checks.states.company import Asked, Drafts, adapter_of, drafts, judge_company
from mm_lora.checks.states.features import (
    ASLEEP,
    DEFAULT,
    ENGINES,
    GUESSING,
    TWO_ENGINES,
)
from mm_lora.checks.states.forced import judge_forced
from mm_lora.checks.states.served_by import served_by
from mm_lora.core.asking import BASE, TEXT_QUESTION, Request
from mm_lora.core.outcomes import largest_difference
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families.family import Family
from mm_lora.families.modules import LANGUAGE

pytestmark = [pytest.mark.full, pytest.mark.truth("reference")]

FREE = pytest.mark.server(adapters=of_each_role, probe=True)
MET = {"language": 1}
GUESSED = 64
"""Tokens of an answer: random weights repeat themselves by then, so that guesses come true."""


def everybody(family: Family) -> Names:
    return (BASE, *of_each_role(family))


def seeing(served: Served, names: Names, tokens: int = 16) -> list[Request]:
    """Each about a picture of its own."""
    draw = served.family.sizes.picture
    return [
        Request(model=name, pictures=(draw("one", 50 + at),), max_tokens=tokens)
        for at, name in enumerate(names)
    ]


@GUESSING
@pytest.mark.check(
    "states/{model}/n-gram/{adapter}",
    title="{adapter} agrees with transformers where tokens are guessed by n-grams",
)
@pytest.mark.each("adapter", everybody)
def test_n_gram(model: str, adapter: str, served: Served, check: Judge, context: Context) -> None:
    (request,) = seeing(served, (adapter,), GUESSED)
    mark = served.probe.mark()
    answer = served.ask_cold(request)
    seen = drafts(served.probe.since(mark).steps, answer)
    judge_forced(check, context, served, "n-gram", request, answer)
    prove_guesses(check, seen)


def prove_guesses(check: Judge, seen: Drafts) -> None:
    check.proves(
        0 < seen.accepted < seen.guessed,
        expected="guesses that were accepted, and others that were not",
        observed=seen,
        reason="guessing made no difference",
    )


@GUESSING
@pytest.mark.check(
    "states/{model}/n-gram/in-company",
    title="tenants whose tokens are guessed by n-grams agree with transformers in company",
)
def test_n_gram_in_company(model: str, served: Served, check: Judge, context: Context) -> None:
    asked = [Asked(one) for one in seeing(served, everybody(served.family), GUESSED)]
    answers, steps = judge_company(check, context, served, "n-gram, in company", asked, MET)
    seen = sum((drafts(steps, answer) for answer in answers), Drafts(0, 0))
    prove_guesses(check, seen)


@pytest.mark.check(
    "states/{model}/async-scheduling/{how}",
    title="tenants agree with transformers in company, the next step scheduled ahead: {how}",
)
@pytest.mark.parametrize(
    "how", [pytest.param("on", marks=DEFAULT), pytest.param("off", marks=GUESSING)]
)
def test_async(model: str, how: str, served: Served, check: Judge, context: Context) -> None:
    """Who came first ends first, so that the last one's rows move to the first place."""
    requests = seeing(served, of_each_role(served.family))
    asked = [Asked(replace(one, max_tokens=12 + 6 * at)) for at, one in enumerate(requests)]
    asked.append(Asked(Request(model=BASE, text=TEXT_QUESTION, max_tokens=32)))
    least = {**MET, "moved": 1}
    judge_company(check, context, served, f"async scheduling {how}", asked, least)
    noted = set(served.noted("async_scheduling"))
    if how == "on" and noted == {False}:
        raise NotApplicable(
            SkipReason.NO_PART,
            "--async-scheduling was given and the worker's config says no: "
            "vllm/platforms/cpu.py::check_and_update_config takes it back",
        )
    check.proves(
        noted == {how == "on"},
        expected=f"async scheduling {how}",
        observed=sorted(map(str, noted)),
        reason="the workers' scheduling is another",
    )


def by_default(served: Served, names: Names) -> list[Asked]:
    """Asked of the base, it is the default that answers, under the medium's name."""
    told = {BASE: (ALL, served.family.media[0])}
    return [
        Asked(one, *told.get(one.model, (one.model, one.model))) for one in seeing(served, names)
    ]


@DEFAULT
@pytest.mark.check(
    "states/{model}/default-adapter/{adapter}",
    title="{adapter} answers about a medium that has an adapter by default as it should",
)
@pytest.mark.each("adapter", everybody)
def test_default_adapter(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    (one,) = by_default(served, (adapter,))
    mark = served.probe.mark()
    answer = served.ask_cold(one.request)
    judge_forced(
        check,
        context,
        served,
        "default adapter",
        one.request,
        answer,
        whose=one.whose,
        named=one.named,
    )
    expected = {one.named}
    used = adapter_of(served.probe.since(mark).steps, answer)
    check.proves(
        used == expected, expected=expected, observed=used, reason="another adapter was used"
    )


@DEFAULT
@pytest.mark.check(
    "states/{model}/default-adapter/in-company",
    title="the default adapter, the base about text and others agree with transformers in company",
)
def test_default_in_company(model: str, served: Served, check: Judge, context: Context) -> None:
    asked = by_default(served, everybody(served.family))
    asked.append(Asked(Request(model=BASE, text=TEXT_QUESTION)))
    _, steps = judge_company(check, context, served, "default, in company", asked, MET)
    used = {request.adapter for step in steps for request in step.requests}
    expected = {served.family.media[0], None, *of_each_role(served.family)}
    check.proves(
        used == expected, expected=expected, observed=used, reason="other adapters were used"
    )


@FREE
@pytest.mark.check(
    "states/{model}/default-adapter/named-text",
    title="the base answers as itself beside an adapter whose name is `text`",
)
def test_named_text(model: str, served: Served, check: Judge) -> None:
    """vLLM finds the default adapter for a medium by the medium's name."""
    (request,) = seeing(served, (served.base,))
    with guest(served, "text"):
        loaded(check, served.load("text", served.built(ALL)), "the adapter")
        answer = served.ask_cold(request)
    served.judged_here(answer)
    told = request.asking(answer.model)  # an adapter that answers for the base says its own name
    check.equal([], answer.problems(told, None), "the answer is not valid")
    right = served.forced(request, answer)
    other = served.forced(request, answer, truth=ALL)
    check.agrees(
        right.adapted,
        answer.logprobs,
        base=None,
        ties=right.ties,
        elsewhere=right.mistaken,
        predictors={"as-the-other-adapter": other.rights},
    )
    check.equal(served.base, answer.model, "the answer bears another's name")
    check.acts(largest_difference(right.adapted, other.adapted), "the adapter does nothing")


@GUESSING
@pytest.mark.check(
    "states/{model}/embeds/{way}",
    title="a picture's rows in place of its pixels are answered as the picture is ({way})",
)
@pytest.mark.each("way", embeds.ways)
def test_embeds(model: str, way: str, served: Served, check: Judge, context: Context) -> None:
    asked = embeds.questions(served, context, pixels=way != "alone")
    if way == "alone":
        for one in asked:
            answer = served.ask_cold(one.request)
            judge_forced(check, context, served, "embeds", one.request, answer, whose=one.whose)
        return
    met = {**MET, "encoder": 1}
    judge_company(check, context, served, "embeds beside pixels", asked, met)


@pytest.mark.check(
    "states/{model}/sleep/{what}",
    title="answers that a sleeping server interrupts go on as their adapters' ({what})",
)
@pytest.mark.parametrize(
    "what",
    [
        pytest.param(
            "caches",
            marks=[FREE, pytest.mark.lacking("gpu", "sleep/weights judges both there")],
        ),
        pytest.param(
            "weights",
            marks=[
                ASLEEP,
                pytest.mark.lacking(
                    "cpu",
                    "vllm/config/model.py refuses --enable-sleep-mode where "
                    "platforms/interface.py::is_sleep_mode_available is not: CUDA, ROCm, XPU",
                ),
            ],
        ),
    ],
)
def test_sleep(model: str, what: str, served: Served, check: Judge, context: Context) -> None:
    """Level 1 takes the caches away, so that all is read again, and the weights where it can."""
    requests = seeing(served, everybody(served.family), 192)
    seen = asleep.interrupt(served, requests, level=1)
    met = beside_last_slot(served, seen.steps)
    for request, answer in zip(requests, seen.answers, strict=True):
        excuse = LAST_SLOT if any(one.is_for(answer.id) for one in met) else ""
        judge_forced(check, context, served, f"sleep, {what}", request, answer, excuse=excuse)
    again = batches(seen.steps).recomputed
    found = {
        "asleep": seen.asleep,
        "awake": seen.awake,
        "interrupted": seen.interrupted,
        "read again": again,
    }
    whole, adapters = len(requests), len(requests) - 1
    check.proves(
        seen.asleep and seen.awake and seen.interrupted == whole and again >= adapters,
        expected={"asleep": True, "awake": True, "interrupted": whole, "read again": adapters},
        observed=found,
        reason="the server did not sleep while all answered",
    )


@TWO_ENGINES
@pytest.mark.check(
    "states/{model}/data-parallel/{adapter}",
    title=f"{{adapter}} agrees with transformers on each of {ENGINES} engines",
)
@pytest.mark.each("adapter", everybody)
def test_each_engine(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    (request,) = seeing(served, (adapter,))
    for engine in range(ENGINES):
        ask_engine(check, context, served, replace(request, engine=engine))


def ask_engine(
    check: Judge, context: Context, served: Served, request: Request, whose: str = ""
) -> None:
    """The answer is right, and that engine has given it."""
    with served_by(served) as seen:
        answer = served.ask_cold(request)
    judge_forced(check, context, served, "data parallel", request, answer, whose=whose)
    check.proves(
        seen.engines == {request.engine},
        expected=f"engine {request.engine}",
        observed=seen.engines,
        reason="another engine has answered",
    )


@TWO_ENGINES
@pytest.mark.check(
    "states/{model}/data-parallel/in-company",
    title=f"tenants that {ENGINES} engines share agree with transformers",
)
def test_engines_share(model: str, served: Served, check: Judge, context: Context) -> None:
    names = everybody(served.family)
    requests = seeing(served, (*names, *reversed(names)))
    served.client.reset_caches()
    with served_by(served, len(requests)) as seen:
        answers = served.ask_all(requests)
    for request, answer in zip(requests, answers, strict=True):
        judge_forced(check, context, served, "data parallel, in company", request, answer)
    check.proves(
        seen.engines == set(range(ENGINES)),
        expected=f"{ENGINES} engines that answered",
        observed=seen.engines,
        reason="not every engine has answered",
    )


@TWO_ENGINES
@pytest.mark.check(
    "states/{model}/data-parallel/in-place",
    title=f"an adapter that takes another's place does so on each of {ENGINES} engines",
)
def test_in_place(model: str, served: Served, check: Judge, context: Context) -> None:
    name = "replaced"
    (request,) = seeing(served, (name,))
    with guest(served, name):
        for truth in pair(served.family, LANGUAGE):
            loaded(check, served.load(name, served.built(truth), in_place=True), truth)
            for engine in range(ENGINES):
                told = replace(request, engine=engine)
                ask_engine(check, context, served, told, whose=truth)
