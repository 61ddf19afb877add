"""Measures how far two right answers of a running server are apart, by its base alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from mm_lora.checks.watching.findings import PICTURE, TEXT
from mm_lora.checks.watching.visitor import Visitor, question
from mm_lora.core.asking import Answer
from mm_lora.core.errors import TroubleError
from mm_lora.core.outcomes import told_apart

REFUSALS = (400, 404, 422)
"""HTTP statuses by which a server says that it does not take pictures."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """The base as it answers alone. `alone`: question → answer; `noise`: the largest difference of
    right answers to one question, in logprob; `largest`: |logprob| of the least likely token."""

    name: str
    alone: dict[str, Answer]
    noise: float
    largest: float
    refusal: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The questions that it takes."""
        return tuple(self.alone)


def measured(visitor: Visitor, name: str) -> Base:
    """Ask the base: new, again, new, and beside itself; never beside an adapter, since what a
    defect does there must not widen the tolerance.

    Raises TroubleError for a base that gives no valid answer: nothing can be said then.
    """
    answers: dict[str, list[Answer]] = {}
    refusal = ""
    for kind in (TEXT, PICTURE):
        asked = question(kind, name)
        first, again = visitor.twice(asked)
        if kind == PICTURE and first.status in REFUSALS:
            refusal = said(first)
            continue
        answers[kind] = [first, again, visitor.ask(asked)]
    kinds = [*answers, *answers]
    for kind, answer in zip(
        kinds, visitor.together([question(kind, name) for kind in kinds]), strict=True
    ):
        answers[kind].append(answer)
    for kind, several in answers.items():
        _require_valid(kind, name, several)
    every = [answer for several in answers.values() for answer in several]
    return Base(
        name=name,
        alone={kind: several[0] for kind, several in answers.items()},
        noise=max(told_apart(*pair) for many in answers.values() for pair in combinations(many, 2)),
        largest=max(abs(value) for one in every for value in one.first_logprobs().values()),
        refusal=refusal,
    )


def said(answer: Answer) -> str:
    """An HTTP error with the server's words."""
    return f"HTTP {answer.status}: {str((answer.raw or {}).get('error', ''))[:200]}"


def _require_valid(kind: str, name: str, answers: Sequence[Answer]) -> None:
    for answer in answers:
        problems = answer.problems(question(kind, name), None)
        if answer.status != 200:
            problems = [said(answer)]
        elif not answer.token_ids or len(answer.first_logprobs()) < 2:
            problems = ["no token ids or likeliest tokens, which vLLM tells when asked"]
        if problems:
            raise TroubleError(
                f"the base '{name}' does not answer a question with {kind}: {problems[0]}",
                "the server's log, and that no proxy between leaves logprobs or token ids out",
            )
