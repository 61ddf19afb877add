"""Relations: what must hold between a server's own answers, so that no reference is needed.

Exact claims compare first answers after the caches were emptied: in the same cache state.
"""

from dataclasses import replace

import pytest

from mm_lora.adapters.relatives import NAMES, SAME
from mm_lora.checks.isolation.traffic import LAST_SLOT
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import Names, everyone, vision
from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, TEXT_QUESTION, Request
from mm_lora.core.outcomes import moved
from mm_lora.families.family import Family


def with_relatives(family: Family) -> Names:
    return (*everyone(family), *NAMES)


ON_SERVER = pytest.mark.server(adapters=with_relatives)


def about_picture(served: Served, name: str) -> Request:
    few = served.family.sizes.picture("few")
    return Request(model=name, text=DICE_QUESTION, pictures=(few,), top=20)


@pytest.mark.check(
    "relations/{model}/zero-b/equals-base",
    title="an adapter whose B is zero answers exactly as the base",
)
@ON_SERVER
def test_zero_b(model: str, served: Served, check: Judge) -> None:
    base = served.ask_cold(about_picture(served, served.base))
    zero = served.ask_cold(about_picture(served, "relative-zero-b"))
    check.equal([], zero.problems(about_picture(served, "relative-zero-b"), base.prompt_tokens))
    check.equal(base.token_ids, zero.token_ids)
    check.equal(base.logprobs, zero.logprobs, "zero B moves the answer")


@pytest.mark.check(
    "relations/{model}/{relation}/equal",
    title="two equivalent adapters give the same answer ({relation})",
)
@ON_SERVER
@pytest.mark.parametrize("relation", SAME)
def test_same(model: str, relation: str, served: Served, check: Judge) -> None:
    one, other = (served.ask_cold(about_picture(served, name)) for name in SAME[relation])
    base = served.ask(about_picture(served, served.base))
    check.equal([], one.problems(about_picture(served, SAME[relation][0]), base.prompt_tokens))
    check.same_answer(one, other)
    check.acts(moved(one.first_logprobs(), base.first_logprobs()), "both do nothing")


@pytest.mark.check("relations/{model}/{adapter}/moves", title="{adapter} changes the answer")
@ON_SERVER
@pytest.mark.each("adapter", everyone)
def test_moves(model: str, adapter: str, served: Served, check: Judge) -> None:
    base = served.ask(about_picture(served, served.base))
    answer = served.ask(about_picture(served, adapter))
    check.equal([], answer.problems(about_picture(served, adapter), base.prompt_tokens))
    effect = moved(answer.first_logprobs(), base.first_logprobs())
    check.acts(effect, "the adapter is served without effect")


@pytest.mark.check(
    "relations/{model}/{adapter}/text-untouched",
    title="{adapter} leaves a text-only answer bit-identical",
)
@ON_SERVER
@pytest.mark.each("adapter", vision)
def test_text_untouched(model: str, adapter: str, served: Served, check: Judge) -> None:
    base = served.ask_cold(Request(model=served.base, text=TEXT_QUESTION))
    answer = served.ask_cold(Request(model=adapter, text=TEXT_QUESTION))
    check.equal(base.token_ids, answer.token_ids)
    check.equal(base.logprobs, answer.logprobs, "a vision adapter moves text")


@pytest.mark.check(
    "relations/{model}/{adapter}/same-after-others",
    title="{adapter} answers bit-identically, whichever adapter was served before it",
)
@ON_SERVER
@pytest.mark.each("adapter", vision)
def test_after_others(model: str, adapter: str, served: Served, check: Judge) -> None:
    # A GPU kernel reads as many adapter indices as the layer has rows: where too few were mapped,
    # the last ones are left over from a larger picture that somebody sent before.
    all_vision, many = vision(served.family), served.family.sizes.picture("many")
    other = all_vision[(all_vision.index(adapter) + 1) % len(all_vision)]
    answers = []
    for before in (adapter, other):
        served.ask_cold(Request(model=before, pictures=(many,), max_tokens=1))
        answers.append(served.ask_cold(about_picture(served, adapter)))
    one, two = answers
    check.equal([], one.problems(about_picture(served, adapter), None), "the answer is not valid")
    check.equal(one.token_ids, two.token_ids, f"another answer after {other}")
    check.equal(one.logprobs, two.logprobs, f"{other}, served before, moves the answer")


@pytest.mark.check(
    "relations/{model}/sent-together/as-alone",
    title="the base and every adapter, sent at once, give the same first token as alone",
)
@ON_SERVER
def test_together(model: str, served: Served, check: Judge) -> None:
    pictures = [served.family.sizes.picture(size) for size in ("few", "many", "one")]
    requests = [
        replace(about_picture(served, name), pictures=(replace(pictures[at % 3], seed=at),))
        for at, name in enumerate((served.base, *everyone(served.family)))
    ]
    alone = [served.ask_cold(request) for request in requests]
    base = [served.ask_cold(request.asking(served.base)) for request in requests]
    for one, own, request in zip(alone[1:], base[1:], requests[1:], strict=True):
        check.equal([], one.problems(request, own.prompt_tokens), "the answer is not valid")
        check.acts(moved(one.first_logprobs(), own.first_logprobs()), f"{request.model} is void")
    for _ in range(3):
        served.client.reset_caches()
        wrong = {}
        for request, one, now in zip(requests, alone, served.ask_all(requests), strict=True):
            error = moved(one.first_logprobs(), now.first_logprobs())
            if not error <= check.same:
                wrong[request.model] = error
        only_base = wrong.keys() == {served.base}
        predicted = only_base and served.every_slot_was_used
        check.equal({}, wrong, "another answer in company", [LAST_SLOT] if predicted else [])
