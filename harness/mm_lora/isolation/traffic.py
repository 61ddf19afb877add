"""Bursts of requests of several tenants, each answer compared with its own answer alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mm_lora.asking import Answer, Request
from mm_lora.isolation.batches import Batches, batches
from mm_lora.outcomes import Outcome, Verdict, largest_difference
from mm_lora.served import Served

LONGEST = 32
"""Tokens of the answer alone. A shorter one is its beginning, since all are greedy."""

LANGUAGE = ("language-model", "pr35147", "all")
"""Standard adapters that move an answer about text alone, and whose reference needs a predictor."""


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """An answer that is not its own: `error` in logprob, `like` the tenant whose answer it is."""

    request: Request
    error: float
    like: str | None

    def __str__(self) -> str:
        whose = f", as {self.like} answers" if self.like else ""
        pictures = " ".join(picture.label for picture in self.request.pictures) or "text"
        return f"{self.request.model} on {pictures}: {self.error:.3g} off{whose}"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one burst, or several added up, showed. `error`: the largest; `effect`: the least error
    that an answer by the base would have had, over all requests whose adapter acts."""

    requests: int = 0
    wrong: tuple[Wrong, ...] = ()
    error: float = 0.0
    effect: float = math.inf
    batches: Batches = field(default_factory=Batches)

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(
            requests=self.requests + other.requests,
            wrong=self.wrong + other.wrong,
            error=max(self.error, other.error),
            effect=min(self.effect, other.effect),
            batches=self.batches + other.batches,
        )

    def verdict(self, *, tolerance: float, min_effect: float) -> Verdict:
        """`fail` for any wrong answer; `void` where an answer by the base would not be seen."""
        outcome, reason = Outcome.PASS, ""
        if self.wrong:
            outcome = Outcome.FAIL
            reason = f"{len(self.wrong)} of {self.requests} answers are not those given alone"
        elif self.effect < min_effect:
            outcome = Outcome.VOID
            reason = f"the effect {self.effect:.3g} is below {min_effect:.3g}: nothing is proved"
        return Verdict(
            outcome=outcome,
            expected=f"{self.requests} answers as given alone",
            observed=[str(wrong) for wrong in self.wrong[:8]] or "the same",
            error=self.error,
            tolerance=tolerance,
            effect=None if math.isinf(self.effect) else self.effect,
            reason=reason,
        )


class Traffic:
    """Sends requests to one probed server and judges each answer by the one given alone."""

    def __init__(self, served: Served, tolerance: float) -> None:
        self.served = served
        self.tolerance = tolerance

    def learn(self, requests: Sequence[Request]) -> None:
        """Ask each of them, and the base the same, alone: what a burst is compared with."""
        for request in dict.fromkeys(map(_whole, requests)):
            self.served.ask_alone(request.asking(self.served.base))
            self.served.ask_alone(request)

    def burst(
        self,
        requests: Sequence[Request],
        *,
        delays: Sequence[float] = (),
        resets: Sequence[str] = ("prefix", "mm", "encoder"),
    ) -> Seen:
        """All at once, after `resets` of caches."""
        self.learn(requests)
        self.served.client.reset_caches(resets)
        probe = self.served.probe
        mark = probe.mark()
        answers = self.served.ask_all(requests, delays)
        seen = self.judged(requests, answers)
        return replace(seen, batches=batches(probe.since(mark).steps))

    def judged(self, requests: Sequence[Request], answers: Sequence[Answer]) -> Seen:
        """Every answer against its own answer alone."""
        pairs = list(zip(requests, answers, strict=True))
        errors = [self.error(request, answer) for request, answer in pairs]
        wrong = tuple(
            Wrong(request=request, error=error, like=self._like(request, answer))
            for (request, answer), error in zip(pairs, errors, strict=True)
            if not error <= self.tolerance
        )
        effects = [
            self._distance(request, self.served.ask_alone(_whole(request)))
            for request in requests
            if acts(request, self.served.base)
        ]
        return Seen(
            requests=len(pairs),
            wrong=wrong,
            error=max(errors, default=0.0),
            effect=min(effects, default=math.inf),
        )

    def error(self, request: Request, answer: Answer) -> float:
        """Largest logprob difference to the answer alone; infinity where it is no answer at all.

        Two tokens may be equally likely. Where the answers part at such a token, the reference
        judges, on the tokens that were answered.
        """
        alone = self.served.ask_alone(_whole(request))
        if answer.problems(request, alone.prompt_tokens):
            return math.inf
        count = len(answer.token_ids)
        error = largest_difference(alone.logprobs[:count], answer.logprobs)
        if answer.token_ids == alone.token_ids[:count]:
            return error
        pairs = zip(alone.token_ids, answer.token_ids, strict=False)
        parted = 1 + next(at for at, (one, other) in enumerate(pairs) if one != other)
        if largest_difference(alone.logprobs[:parted], answer.logprobs[:parted]) > self.tolerance:
            return max(error, self.tolerance * 2)
        return self.by_reference(request, answer)

    def by_reference(self, request: Request, answer: Answer) -> float:
        """Largest logprob difference to the reference, or to what a known defect makes of it:
        whether that defect is there is judged elsewhere."""
        predict = request.model in LANGUAGE
        truth = self.served.forced(request, answer, predict=predict)
        rights = [truth.adapted, *truth.predicted.values()]
        return min(largest_difference(right, answer.logprobs) for right in rights)

    def _distance(self, request: Request, answer: Answer) -> float:
        """How far an answer is from the base's to the same question."""
        base = self.served.ask_alone(_whole(request).asking(self.served.base))
        return largest_difference(base.logprobs, answer.logprobs)

    def _like(self, request: Request, answer: Answer) -> str | None:
        """The tenant that answers so when asked alone, of those that were asked."""
        question = _whole(request)
        for other, alone in self.served.alone.items():
            same = other.asking(request.model) == question
            count = len(answer.logprobs)
            if same and largest_difference(alone.logprobs[:count], answer.logprobs) <= (
                self.tolerance
            ):
                return other.model
        return None


def acts(request: Request, base: str) -> bool:
    """Whether the answer must differ from the base's: a vision adapter leaves text alone."""
    return request.model != base and bool(request.pictures or request.model in LANGUAGE)


def _whole(request: Request) -> Request:
    return replace(request, max_tokens=LONGEST, stream=False)
