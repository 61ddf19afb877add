"""Refusals are judged by status and words, and before that by what the others answer."""

from types import SimpleNamespace
from typing import Any

import pytest

from mm_lora.checks.judging import Judge
from mm_lora.checks.refusal import Offered, judge_refused, unharmed, witnesses
from mm_lora.core.asking import Answer, Request
from mm_lora.core.outcomes import NotPassed
from mm_lora.core.table import Tables
from mm_lora.families import registry


def answer(model: str, *logprobs: float, status: int = 200) -> Answer:
    return Answer(
        model=model,
        text="x",
        token_ids=(1,) * len(logprobs),
        logprobs=logprobs,
        prompt_tokens=9,
        completion_tokens=len(logprobs),
        finish_reason="length",
        status=status,
    )


class Served:
    """Answers the base with what the test says, and knows no other name."""

    base = "base"
    family = registry.family("llama4")
    spec = SimpleNamespace(adapters=("all", "vision-adapter"), model="scout")
    listed = ("base",)

    def __init__(self) -> None:
        self.value = self.truth = -1.0
        self.released: list[Any] = []
        self.context = SimpleNamespace(pool=SimpleNamespace(release=self.released.append))

    def ask_cold(self, request: Request) -> Answer:
        return answer(request.model, *[self.value] * request.max_tokens)

    def forced(self, request: Request, given: Answer) -> Any:
        return SimpleNamespace(adapted=[self.truth] * request.max_tokens, mistaken=())

    def ask_again(self, request: Request) -> Answer:
        return answer(request.model, status=404)

    def unload(self, name: str) -> tuple[int, str]:
        return 404, ""


def judged(offered: Offered, *, says: str = "lora_B", harm: float = 0.0) -> tuple[Served, Any]:
    served = Served()
    witnesses(served)  # type: ignore[arg-type]
    served.value += harm
    tables = Tables()
    context = SimpleNamespace(table=tables.named)
    check = Judge(tolerance=1e-3, min_effect=0.05)
    try:
        judge_refused(context, served, check, "bad", "what", offered, says)  # type: ignore[arg-type]
    except NotPassed as error:
        (row,) = tables["refusal"].rows
        return served, (error.verdict, row)
    return served, None


def test_a_clear_refusal_passes() -> None:
    assert judged(Offered(400, "o_proj has no lora_B"))[1] is None
    assert judged(Offered(200, "Success", "it answers 1 away from the base"), says="")[1] is None


@pytest.mark.parametrize(
    ("offered", "reason", "predicted"),
    [
        (Offered(200, "Success", "it answers as the base"), "accepted", ("as-the-base",)),
        (Offered(200, "lora_B", "it answers 1 away from the base"), "accepted", ()),
        (Offered(400, "NoneType"), "not why", ()),
        (Offered(500, "o_proj has no lora_B"), "server error", ()),
    ],
)
def test_all_else_fails(offered: Offered, reason: str, predicted: tuple[str, ...]) -> None:
    served, (verdict, row) = judged(offered)
    assert reason in verdict.reason
    assert verdict.predicted_by == predicted
    assert row[-1] == "base, vision-adapter as before"
    assert not served.released


def test_harm_to_the_others_is_judged_first_and_ends_the_server() -> None:
    served, (verdict, row) = judged(Offered(200, "Success"), harm=1e-9)
    assert verdict.reason == "base answers otherwise since"
    assert row[-1] == "harmed"
    assert served.released == [served.spec]


def test_others_that_were_harmed_before_are_no_witnesses() -> None:
    served = Served()
    served.truth += 1
    check = Judge(tolerance=1e-3, min_effect=0.05)
    with pytest.raises(NotPassed, match="above the tolerance"):
        unharmed(served, check, "bad")  # type: ignore[arg-type]
    assert served.released == [served.spec]
