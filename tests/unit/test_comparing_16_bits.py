"""In 16 bits two right answers may part at a tie: compared is what comes before, and that place."""

import math
from dataclasses import replace

import pytest

from mm_lora.adapters.sets import for_server, named
from mm_lora.checks.judging import Judge
from mm_lora.core.asking import Answer
from mm_lora.core.errors import UsageError
from mm_lora.core.outcomes import NotPassed, apart, told_apart
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families import registry
from mm_lora.run.profiles import load
from mm_lora.run.settings import settings_of


def answer(ids: tuple[int, ...], *logprobs: float, text: str = "t") -> Answer:
    return Answer(
        model="m",
        text=text,
        token_ids=ids,
        logprobs=logprobs,
        prompt_tokens=1,
        completion_tokens=len(ids),
        finish_reason="length",
    )


ONE = answer((1, 2, 3), -1.0, -2.0, -3.0)


@pytest.mark.parametrize(
    ("other", "error"),
    [
        (ONE, 0.0),
        (answer((1, 2, 3), -1.0, -2.0, -3.5), 0.5),
        (answer((1, 9, 8), -1.0, -2.01, -7.0, text="u"), 0.01),
        (answer((9, 2, 3), -1.5, -2.0, -3.0), 0.5),
        (answer((1, 2), -1.0, -2.0), math.inf),
        (answer((1, 2, 3), -1.0, -2.0, math.nan), math.inf),
        (answer((1, 2, 3), -1.0, -2.0, -3.0, text="u"), math.inf),
    ],
    ids=["same", "number", "tie", "first", "shorter", "nan", "text"],
)
def test_how_far_two_answers_are_apart(other: Answer, error: float) -> None:
    assert apart(ONE, other) == pytest.approx(error)


def test_a_tie_is_told_from_another_distribution() -> None:
    def named(id: int, *tops: tuple[str, float]) -> Answer:
        content = [{"top_logprobs": [{"token": t, "logprob": v} for t, v in tops]}]
        return replace(answer((id,), -1.0), raw={"choices": [{"logprobs": {"content": content}}]})

    one = named(1, ("a", -1.0), ("b", -1.01))
    assert apart(one, named(2, ("b", -1.0), ("a", -1.5))) == 0.0
    assert told_apart(one, named(2, ("b", -1.0), ("a", -1.01))) == pytest.approx(0.01)
    assert told_apart(one, named(2, ("b", -1.0), ("a", -1.5))) == pytest.approx(0.5)
    assert told_apart(one, named(2, ("c", -1.0), ("d", -1.5))) == math.inf
    assert (
        told_apart(named(1, ("a", -1.0)), named(2, ("b", -1.0))) == 0.0
    )  # one token: nothing more
    assert told_apart(ONE, answer((1, 2, 3), -1.0, -2.0, -3.5)) == 0.5  # streamed


def test_the_profile_says_how_far_they_may_be() -> None:
    for name, passes in (("rehearsal", True), ("cpu", False)):
        place = load(name)
        judge = Judge(tolerance=place.tolerance, min_effect=place.min_effect, same=place.same)
        near = answer((1, 2, 3), -1.0, -2.0, -3.01)
        if passes:
            judge.same_answer(ONE, near)
        else:
            with pytest.raises(NotPassed, match=r"0\.01 is above 1e-05"):
                judge.same_answer(ONE, near)


def test_a_skip_begins_with_its_type() -> None:
    assert str(NotApplicable(SkipReason.NO_ROWS)).startswith("no-rows: ")
    assert str(NotApplicable(SkipReason.NO_ADAPTER, "HTTP 404")).endswith("(HTTP 404)")


@pytest.mark.parametrize(("effect", "outcome"), [(0.01, "fail"), (0.1, "void"), (0.3, None)])
def test_no_effect_fails_and_a_weak_one_proves_nothing(effect: float, outcome: str | None) -> None:
    place = load("rehearsal")
    judge = Judge(tolerance=place.tolerance, min_effect=place.min_effect, same=place.same)
    if outcome is None:
        judge.acts(effect, "none")
        assert judge.verdict().outcome == "pass"
        return
    with pytest.raises(NotPassed) as caught:
        judge.acts(effect, "none")
    assert caught.value.verdict.outcome == outcome


def test_a_factor_keeps_relatives_relatives() -> None:
    family = registry.family("llama4")
    names = ("relative", "relative-b-doubled")
    one, two = (for_server(named(family, name), "bfloat16", 4) for name in names)
    assert (one.dtype, one.strength, two.strength) == ("bfloat16", 2.0, 4.0)
    assert for_server(named(family, "peft-float16"), "bfloat16").dtype == "float16"
    assert for_server(named(family, "projector"), "float32") == named(family, "projector")
    with pytest.raises(UsageError, match="strength=0"):
        settings_of(["strength=0"])
