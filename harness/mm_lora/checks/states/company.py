"""Requests that meet in one step, each answer judged by the reference; and what drafts became."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mm_lora.checks.context import Context
from mm_lora.checks.isolation.batches import Batches, batches
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.checks.states.forced import judge_forced
from mm_lora.core.asking import Answer, Request
from mm_lora.serving.probe_records import Step

TRIES = 3
"""When requests arrive is up to the machine, so that one burst may be too slow to be a batch."""


@dataclass(frozen=True)
class Asked:
    """A request, who must have answered it, and how the server calls that one; an empty name is the
    one that was asked."""

    request: Request
    whose: str = ""
    named: str = ""


def judge_company(
    check: Judge,
    context: Context,
    served: Served,
    state: str,
    asked: Sequence[Asked],
    least: Mapping[str, int],
) -> tuple[list[Answer], Sequence[Step]]:
    """All at once from empty caches: each answer is right, and they met as `least` demands.

    Returns the answers of the last burst and its steps.
    """
    met = Batches()
    for _ in range(TRIES):
        served.client.reset_caches()
        mark = served.probe.mark()
        answers = served.ask_all([one.request for one in asked])
        steps = served.probe.since(mark).steps
        for one, answer in zip(asked, answers, strict=True):
            judge_forced(
                check,
                context,
                served,
                state,
                one.request,
                answer,
                whose=one.whose,
                named=one.named,
            )
        met += batches(steps)
        if not met.lacks(least):
            break
    lacks = met.lacks(least)
    check.proves(
        not lacks,
        expected=dict(least),
        observed=lacks,
        reason="the requests did not share a step as the claim requires",
    )
    return answers, steps


def adapter_of(steps: Sequence[Step], answer: Answer) -> set[str | None]:
    """The adapters that a request had in the steps it was in; None for the base."""
    return {
        request.adapter for step in steps for request in step.requests if request.is_for(answer.id)
    }


@dataclass(frozen=True)
class Drafts:
    """Tokens that were guessed for a request before the model had read them, and of these those
    that the model agreed to."""

    guessed: int
    accepted: int

    def __add__(self, other: "Drafts") -> "Drafts":
        return Drafts(self.guessed + other.guessed, self.accepted + other.accepted)


def drafts(steps: Sequence[Step], answer: Answer) -> Drafts:
    """What one worker's steps had of a request that found nothing in the prefix cache.

    A step of an answer has its last token and the guesses after it, and gives one token more than
    it accepts. Guesses behind the answer's end count as not accepted.
    """
    mine = [
        request.tokens
        for step in steps
        if step.worker == steps[0].worker and step.kind == "language"
        for request in step.requests
        if request.is_for(answer.id)
    ]
    read, at = 0, 0
    while at < len(mine) and read < answer.prompt_tokens:
        read += mine[at]
        at += 1
    answering = mine[at:]
    guessed = sum(answering) - len(answering)
    return Drafts(guessed, answer.completion_tokens - 1 - len(answering))
