"""What is asked and read in the states that short answers do not reach."""

from typing import Any, cast

import pytest

from mm_lora.checks.isolation.batches import batches
from mm_lora.checks.running import Served
from mm_lora.checks.states.leaving import was_left
from mm_lora.checks.states.small_cache import BLOCK, BLOCKS, cached, outgrowing, span, too_many
from mm_lora.checks.states.texts import filled
from mm_lora.checks.states.waiting import counts
from mm_lora.core.asking import Answer, Request
from mm_lora.core.outcomes import judge_close
from mm_lora.families import registry
from mm_lora.families.flow import Flow
from mm_lora.serving.client import every_answer, options, whole_answer
from mm_lora.serving.probe_records import Request as Scheduled
from mm_lora.serving.probe_records import Step

LLAMA4 = registry.family("llama4")


def step(*requests: tuple[str, int], adapter: str | None = "x") -> Step:
    """One of the language model; (request, tokens) in the order of the batch."""
    rows = tuple(Scheduled(name, adapter, tokens, ()) for name, tokens in requests)
    return Step(worker="w", seq=1, number=1, kind="language", requests=rows, calls=())


def test_a_preempted_request_is_read_again() -> None:
    one = [step(("a", 9), ("b", 9)), step(("a", 1), ("b", 1)), step(("a", 1), ("b", 1))]
    assert batches([*one, step(("a", 1)), step(("a", 1), ("b", 11))]).recomputed == 1
    assert batches([*one, step(("a", 1)), step(("a", 1), ("b", 1))]).recomputed == 0
    pieces = [step(("a", 4)), step(("a", 1)), step(("a", 4)), step(("a", 1))]
    assert batches(pieces).recomputed == 0, "a piece of one token is no answer"
    base = [step(("a", tokens), adapter=None) for tokens in (9, 1, 1, 1, 11)]
    assert batches(base).recomputed == 0, "the base has no adapter to lose"


def test_rows_move_where_the_last_one_fills_a_gap() -> None:
    three = step(("a", 1), ("b", 1), ("c", 1))
    assert batches([three, step(("c", 1), ("b", 1))]).moved == 1
    assert batches([three, step(("b", 1), ("c", 1))]).moved == 0
    assert batches([three, step(("a", 1), ("b", 1)), step(("a", 1), ("b", 1), ("d", 9))]).moved == 0


def test_a_request_waits_where_a_step_leaves_out_what_was_begun() -> None:
    begun = [step(("a", 9), ("b", 9)), step(("b", 1), ("c", 9))]
    assert batches([*begun, step(("a", 9), ("b", 1))]).waited == 1
    assert batches([*begun, step(("b", 1))]).waited == 0, "it left"
    assert batches([step(("a", 9)), step(("a", 9)), step(("a", 1))]).waited == 0
    done = [step(("a", 9)), step(("a", 1)), step(("b", 9)), step(("a", 1))]
    assert batches(done).waited == 0, "its prompt was read"


def sized(tokens: int, prompt: int) -> Flow:
    return Flow(name="", size=(1, 1), rows={}, tokens=tokens, prompt_tokens=prompt)


def test_pictures_fill_a_step_so_that_none_of_the_largest_fits() -> None:
    found = counts([sized(1008, 1017), sized(432, 437), sized(144, 147)])
    assert found == (3, 0, 1)
    assert counts([sized(576, 576)]) is None, "seven leave too few tokens for texts"
    assert counts([sized(256, 259)]) is None
    assert counts([sized(972, 977), sized(324, 327)], budget=5508) is None, "more than a prompt has"


def answer(request_id: str = "", prompt: int = 10, tokens: int = 3, **raw: Any) -> Answer:
    return Answer(
        model="x",
        text="six",
        token_ids=tuple(range(tokens)),
        logprobs=(-1.0,) * tokens,
        prompt_tokens=prompt,
        completion_tokens=tokens,
        finish_reason="length",
        id=request_id,
        raw=raw,
    )


def test_only_who_ends_early_and_before_others_has_left() -> None:
    steps = [step(("a", 9), ("b", 9)), step(("a", 1), ("b", 1)), step(("b", 1))]
    assert was_left(steps, answer("a"), max_tokens=100)
    assert not was_left(steps, answer("a"), max_tokens=2), "it came to its end"
    assert not was_left(steps, answer("b"), max_tokens=100), "it was the last"
    assert not was_left(steps, answer("c"), max_tokens=100), "it never was there"
    assert not was_left([step(("a", 1)), step(("b", 9))], answer("a"), max_tokens=9), "met nobody"


def test_the_place_of_a_picture_and_what_a_cache_had_of_it() -> None:
    assert span([1, 2, 7, 8], [1, 2, 5, 5, 5, 7, 8], 3) == (2, 5)
    # 10 prompt tokens and 3 answered need 12 rows.
    assert cached([step(("a", 4)), step(("a", 1), ("b", 9)), step(("a", 1))], answer("a")) == 6


class Asked:
    """A server whose prompts have 20 tokens, 24 for each sentence, and 3 for a picture."""

    base = "base"
    family = LLAMA4

    def ask(self, request: Request) -> Answer:
        tokens = 20 + 24 * request.text.count("six pips") + 3 * len(request.pictures)
        return answer(prompt=tokens)

    def image_prompt_tokens(self, request: Request) -> int:
        return 147 * len(request.pictures)


def test_a_text_fills_a_context() -> None:
    served = cast(Served, Asked())
    pictures = (LLAMA4.sizes.picture("one"),)
    for wanted in (500, 4080):
        request = filled(served, "all", wanted, pictures)
        assert wanted - 24 < served.ask(request).prompt_tokens <= wanted
        assert (request.model, request.max_tokens) == ("all", 16)


def test_more_is_asked_than_a_small_cache_holds() -> None:
    requests = too_many(cast(Served, Asked()), ("base", "all"), 48)
    assert sum(147 + BLOCK for _ in requests) >= BLOCK * BLOCKS
    assert len(set(requests)) == len(requests)
    assert [request.model for request in requests[:3]] == ["base", "all", "base"]


@pytest.mark.parametrize("prompt", [20, 170, 192, 193, 453, 1300, BLOCK * BLOCKS])
def test_answers_are_long_enough_for_the_prompts_that_fit_to_outgrow_the_cache(prompt: int) -> None:
    def blocks(tokens: int) -> int:
        return -(-tokens // BLOCK)

    fit = BLOCKS // blocks(prompt)
    assert fit * blocks(prompt) <= BLOCKS
    assert fit * blocks(prompt + outgrowing(prompt, 48)) > BLOCKS


def test_each_way_of_asking() -> None:
    plain = options(Request(model="m", text="t"))
    assert "n" not in plain
    assert plain["temperature"] == 0.0
    sampled = options(Request(model="m", text="t", seed=7, answers=4, prompt_logprobs=True))
    assert (sampled["n"], sampled["seed"], sampled["temperature"]) == (4, 7, 1.0)
    assert sampled["extra_body"]["top_k"] == 20
    assert sampled["extra_body"]["prompt_logprobs"] == 0
    beams = options(Request(model="m", text="t", answers=3, beams=True))
    assert beams["extra_body"]["use_beam_search"] is True
    tokens = options(Request(model="m", text="t", prompt=(1, 2)))
    assert tokens["prompt"] == [1, 2]
    assert "messages" not in tokens


def test_each_of_several_answers() -> None:
    request = Request(model="m", answers=2)
    choices = [
        {
            "message": {"content": word},
            "token_ids": [at],
            "logprobs": {"content": [{"logprob": at}]},
        }
        for at, word in enumerate(("one", "two"))
    ]
    first = whole_answer(request, {"model": "m", "choices": choices})
    assert [(one.text, one.token_ids, one.logprobs) for one in every_answer(request, first)] == [
        ("one", (0,), (0.0,)),
        ("two", (1,), (1.0,)),
    ]
    plain = {"text": "six", "token_ids": [5], "logprobs": {"token_logprobs": [-0.5]}}
    told = whole_answer(request, {"model": "m", "choices": [{**plain, "prompt_token_ids": [1, 2]}]})
    assert (told.text, told.logprobs, told.prompt_ids) == ("six", (-0.5,), (1, 2))


def test_the_logprobs_of_a_prompt() -> None:
    places = [None, {"7": {"logprob": -2.0}}, {"9": {"logprob": -3.0}, "8": {"logprob": -1.0}}]
    told = answer(prompt_token_ids=[5, 7, 9], prompt_logprobs=places)
    assert told.prompt_logprobs() == (-2.0, -3.0)
    assert answer().prompt_logprobs() == ()


@pytest.mark.parametrize(("places", "told"), [(16, False), (128, True)])
def test_a_reason_says_where_a_long_answer_is_wrong(places: int, told: bool) -> None:
    wrong = [0.0] * places
    wrong[-2:] = [1.0, 1.0]
    reason = judge_close([0.0] * places, wrong, tolerance=0.1).reason
    assert (f"at 2 of {places} places, first at {places - 2}" in reason) is told
