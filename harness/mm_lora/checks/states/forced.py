"""Judges each token of long, of several answers and of prompts by the reference; keeps a table."""

from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import predictable
from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request
from mm_lora.core.outcomes import largest_difference
from mm_lora.core.table import Column, Kind
from mm_lora.serving.client import every_answer
from mm_lora.truth.reference import Forced

TITLE = "States: tokens compared with transformers"
COLUMNS = (
    "state",
    "adapter",
    Column("prompt", Kind.COUNT),
    Column("tokens", Kind.COUNT),
    Column("error", Kind.DIFFERENCE),
    Column("effect", Kind.NUMBER),
    Column("effect where it counts", Kind.NUMBER),
)


def judge_forced(
    check: Judge,
    context: Context,
    served: Served,
    state: str,
    request: Request,
    answer: Answer,
    *,
    counts: slice = slice(None),
    whose: str = "",
    named: str = "",
    excuse: str = "",
) -> Forced:
    """Each token's logprob is the reference's, and the adapter acts on those that `counts` names,
    places in the lists of `Forced`: elsewhere an adapter that is lost would not be seen.

    `whose`: who must have answered, where that is another than was asked; `named`: what the server
    is to call it, judged after the numbers. `excuse`: the signature of a known defect that this
    answer met, and that can give it any numbers."""
    told = request.asking(answer.model) if named else request
    check.equal([], answer.problems(told, None), f"the answer is not valid: {answer.raw}"[:300])
    whose = whose or request.model
    truth = served.forced(request, answer, predict=predictable(served.family, whose), truth=whose)
    check.equal(
        truth.prompt_tokens, answer.prompt_tokens, "the prompt differs from the reference's"
    )
    given = answer.logprobs
    if request.prompt_logprobs:
        check.equal(truth.prompt_ids, answer.prompt_ids, "the prompt's tokens are others")
        given = (*answer.prompt_logprobs(), *given)
    base = None if whose == served.base else truth.base
    acts = largest_difference(truth.adapted[counts], truth.base[counts])
    context.table("states", TITLE, COLUMNS).add(
        state,
        whose,
        answer.prompt_tokens,
        len(given),
        largest_difference(truth.adapted, given),
        largest_difference(truth.adapted, truth.base),
        acts,
    )
    predictors = dict(truth.predicted)
    if whose != request.model == served.base:
        predictors["as-the-base"] = truth.bases
    if excuse:
        predictors[excuse] = (given,)
    check.agrees(truth.adapted, given, base=base, predictors=predictors, ties=truth.ties)
    if named:
        check.equal(named, answer.model, "the answer bears another's name")
    check.proves(
        base is None or acts >= check.min_effect,
        expected=f"an effect of at least {check.min_effect:.3g} where it counts",
        observed=acts,
        reason="where an adapter would be lost it does too little to be missed",
    )
    return truth


def judge_each(
    check: Judge, context: Context, served: Served, state: str, request: Request
) -> None:
    """Each answer to one request is its adapter's, and they are not all the same."""
    several = every_answer(request, served.ask(request))
    check.equal(
        [], several[0].problems(request, None), f"the answer is not valid: {several[0].raw}"[:300]
    )
    check.equal(request.answers, len(several), "another number of answers than asked for")
    for answer in several:
        judge_forced(check, context, served, state, request, answer)
    check.proves(
        len({answer.token_ids for answer in several}) > 1,
        expected="answers that differ",
        observed=[answer.text for answer in several],
        reason="all are one answer",
    )
