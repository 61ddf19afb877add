"""Dice: the scenarios that a porter pastes into a pull request, each with an independent truth."""

import re
from dataclasses import replace

import pytest

from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import (
    Names,
    first_connector,
    groups,
    last_connector,
    predictable,
    vision,
)
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE, DICE_QUESTION, TEXT_QUESTION, Request, Shown
from mm_lora.core.images import DEFAULT_COLOURS
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families.family import Family

ON_SERVER = pytest.mark.server(adapters=groups)


def named(family: Family) -> Names:
    return (BASE, *groups(family))


def streamed(family: Family) -> Names:
    return (BASE, *last_connector(family))


def on_two(family: Family) -> Names:
    return (BASE, *first_connector(family))


def dice(served: Served) -> Shown:
    return served.family.sizes.picture("one")


def changes_text(served: Served, own: str) -> bool:
    """Whether an adapter of the user's may change an answer to text alone."""
    built = served.context.adapters(served.spec.model, (own,))[own]
    return built.reaches_language(served.family)


def served_name(served: Served, name: str) -> str:
    return served.base if name == BASE else name


def require_valid(check: Judge, served: Served, request: Request) -> None:
    """Status, model, text, finite logprobs, prompt tokens; the same answer when asked again."""
    answer = served.ask(request)
    plain = served.ask(replace(request, pictures=(), stream=False))
    # A picture's tokens replace nothing: the rest of the prompt is that of the text alone.
    expected = plain.prompt_tokens + served.image_prompt_tokens(request)
    check.equal([], answer.problems(request, expected), "the answer is not valid")
    again = served.ask_again(request)
    check.same_answer(answer, again, "another answer when asked again")


@pytest.mark.check(
    "dice/{model}/{name}/picture", title="{name} gives a valid, repeatable answer about the dice"
)
@ON_SERVER
@pytest.mark.each("name", named)
def test_picture(model: str, name: str, served: Served, check: Judge) -> None:
    require_valid(check, served, Request(model=served_name(served, name), pictures=(dice(served),)))


@pytest.mark.truth("reference")
@pytest.mark.check(
    "dice/{model}/{adapter}/effect", title="{adapter} changes the answer as much as in transformers"
)
@ON_SERVER
@pytest.mark.each("adapter", groups)
def test_effect(model: str, adapter: str, served: Served, check: Judge) -> None:
    request = Request(model=adapter, pictures=(dice(served),))
    answer = served.ask(request)
    truth = served.forced(request, answer, predict=predictable(served.family, adapter))
    check.agrees(
        truth.adapted, answer.logprobs, base=truth.base, predictors=truth.predicted, ties=truth.ties
    )


@pytest.mark.truth("reference")
@pytest.mark.check(
    "dice/{model}/base/reference", title="the base model's answer agrees with transformers"
)
@ON_SERVER
def test_base_reference(model: str, served: Served, check: Judge) -> None:
    request = Request(model=served.base, pictures=(dice(served),))
    answer = served.ask(request)
    truth = served.forced(request, answer)
    check.equal(truth.prompt_tokens, answer.prompt_tokens)
    check.agrees(
        truth.adapted, answer.logprobs, base=None, predictors=truth.predicted, ties=truth.ties
    )


@pytest.mark.check("dice/{model}/base/names-the-dice", title="the base model recognises the dice")
@ON_SERVER
def test_names_the_dice(model: str, served: Served, check: Judge) -> None:
    if not served.context.model(model).speaks:
        raise NotApplicable(SkipReason.NO_MEANING)
    answer = served.ask(Request(model=served.base, pictures=(dice(served),), max_tokens=128))
    said = answer.text.lower()
    check.claim(
        re.search(r"\b(dice|die)\b", said) is not None
        and sum(colour in said for colour in DEFAULT_COLOURS) >= 2,
        expected=f"dice, and at least two of {', '.join(DEFAULT_COLOURS)}",
        observed=answer.text,
        reason="the base model does not see the dice",
    )


@pytest.mark.check(
    "dice/{model}/{adapter}/text-only", title="{adapter} leaves a text-only answer unchanged"
)
@ON_SERVER
@pytest.mark.each("adapter", vision)
def test_text_only(model: str, adapter: str, served: Served, check: Judge) -> None:
    request = Request(model=adapter, text=TEXT_QUESTION)
    base = served.ask_cold(request.asking(served.base))
    answer = served.ask_cold(request)
    check.equal([], answer.problems(request, base.prompt_tokens), "the answer is not valid")
    check.same_answer(base, answer)


@pytest.mark.check(
    "dice/{model}/{name}/streamed",
    title="{name} streams the same answer that it gives in one piece",
)
@ON_SERVER
@pytest.mark.each("name", streamed)
def test_streamed(model: str, name: str, served: Served, check: Judge) -> None:
    request = Request(model=served_name(served, name), pictures=(dice(served),))
    whole = served.ask(request)
    streamed = served.ask_again(replace(request, stream=True))
    check.equal([], streamed.problems(request, whole.prompt_tokens), "the answer is not valid")
    check.same_answer(whole, streamed)


@pytest.mark.check(
    "dice/{model}/{name}/two-pictures",
    title="{name} gives a valid, correct answer about two pictures",
)
@ON_SERVER
@pytest.mark.each("name", on_two)
def test_two_pictures(model: str, name: str, served: Served, check: Judge) -> None:
    request = Request(
        model=served_name(served, name),
        text=DICE_QUESTION,
        pictures=(dice(served), served.family.sizes.picture("few")),
    )
    require_valid(check, served, request)
    if not served.context.has_reference:
        return
    truth = served.forced(request, served.ask(request))
    base = None if name == BASE else truth.base
    check.agrees(
        truth.adapted,
        served.ask(request).logprobs,
        base=base,
        predictors=truth.predicted,
        ties=truth.ties,
    )


@pytest.mark.check(
    "dice/{model}/base/unchanged",
    title="the base's answer is bit-identical before and after adapters are used",
)
@ON_SERVER
def test_base_unchanged(model: str, served: Served, check: Judge) -> None:
    request = Request(model=served.base, pictures=(dice(served),))
    first = served.ask(request)  # in a whole run: before any adapter was used on this server
    before = served.ask_cold(request)
    check.same_answer(first, before)
    for adapter in groups(served.family):
        if adapter not in served.refused:  # it fails where it is the one that is judged
            served.ask_again(request.asking(adapter))
    after = served.ask_cold(request)
    check.equal(before.text, after.text)
    check.equal(before.logprobs, after.logprobs, "the base changed after adapters were used")


@pytest.mark.check(
    "dice/{model}/{own}/picture",
    title="your adapter {own} gives a valid, repeatable answer about the dice",
)
@ON_SERVER
def test_own_picture(model: str, own: str, served: Served, check: Judge) -> None:
    require_valid(check, served, Request(model=own, pictures=(dice(served),)))


@pytest.mark.truth("reference")
@pytest.mark.check(
    "dice/{model}/{own}/effect",
    title="your adapter {own} changes the answer as much as in transformers",
)
@ON_SERVER
def test_own_effect(model: str, own: str, served: Served, check: Judge) -> None:
    request = Request(model=own, pictures=(dice(served),))
    answer = served.ask(request)
    language = changes_text(served, own)
    truth = served.forced(request, answer, predict=language)
    check.agrees(
        truth.adapted, answer.logprobs, base=truth.base, predictors=truth.predicted, ties=truth.ties
    )


@pytest.mark.check(
    "dice/{model}/{own}/text-only", title="your adapter {own} gives a valid answer to text alone"
)
@ON_SERVER
def test_own_text_only(model: str, own: str, served: Served, check: Judge) -> None:
    request = Request(model=own, text=TEXT_QUESTION)
    require_valid(check, served, request)
    if not changes_text(served, own):
        base = served.ask_cold(request.asking(served.base))
        check.same_answer(base, served.ask_cold(request))


@pytest.mark.check(
    "dice/{model}/server/log",
    title="the server's log reports tower and connector LoRA and no ignored module",
)
@ON_SERVER
def test_log(model: str, served: Served, check: Judge) -> None:
    log = served.log_text()
    check.claim(
        "LoRA for the tower and connector" in log,
        expected="vLLM's line about tower and connector LoRA",
        observed=len(log),
        reason="the feature is not on",
    )
    # vLLM says the same words of compiler settings, which concern no adapter.
    ignored = [
        line
        for line in log.splitlines()
        if "will be ignored" in line and "optimizations settings" not in line
    ]
    check.equal([], ignored, "vLLM ignores something")
