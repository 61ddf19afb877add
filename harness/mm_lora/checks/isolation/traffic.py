"""Bursts of requests of several tenants, each answer compared with its own answer alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mm_lora.checks.isolation.batches import Batches, batches, beside_adapters
from mm_lora.checks.roles import acts_on_text, predictable
from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request
from mm_lora.core.outcomes import Outcome, Verdict, largest_difference, told_apart
from mm_lora.serving.probe_records import Request as Met
from mm_lora.serving.probe_records import Step

LONGEST = 32
"""Tokens of the answer alone. A shorter one is its beginning, since all are greedy."""

LAST_SLOT = "base-rows-take-last-slot"
"""The signature of a known defect: an answer of the base, which met an adapter in a step of a
server whose last slot holds one. On any other server, and of any adapter, it predicts nothing."""


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """An answer that is not its own: `error` in logprob, `like` the tenant whose answer it is,
    `signature` that of a known defect that can do this."""

    request: Request
    error: float
    like: str | None
    signature: str = ""

    def __str__(self) -> str:
        whose = f", as {self.like} answers" if self.like else ""
        pictures = " ".join(medium.label for medium in self.request.media) or "text"
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

    @property
    def unexplained(self) -> bool:
        """Whether a wrong answer is no work of a known defect."""
        return any(not wrong.signature for wrong in self.wrong)

    def verdict(self, *, tolerance: float, min_effect: float) -> Verdict:
        """`fail` for any wrong answer; `void` where an answer by the base would not be seen."""
        outcome, reason = Outcome.PASS, ""
        signatures = {wrong.signature for wrong in self.wrong}
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
            predicted_by=tuple(signatures - {""}) if len(signatures) == 1 else (),
        )


class Traffic:
    """Sends requests to one probed server and judges each answer by the one given alone.

    `longest`: tokens of the answers alone, at least as many as any request wants.
    """

    def __init__(self, served: Served, tolerance: float, longest: int = LONGEST) -> None:
        self.served = served
        self.tolerance = tolerance
        self.longest = longest

    def learn(self, requests: Sequence[Request]) -> None:
        """Ask each of them, and the base the same, alone: what a burst is compared with."""
        for request in dict.fromkeys(map(self._whole, requests)):
            self.served.ask_alone(request.asking(self.served.base))
            self.served.ask_alone(request)

    def burst(
        self,
        requests: Sequence[Request],
        *,
        delays: Sequence[float] = (),
        resets: Sequence[str] = ("prefix", "mm", "encoder"),
        in_line: bool = False,
    ) -> Seen:
        """All at once, after `resets` of caches; in order where they are `in_line`."""
        self.learn(requests)
        self.served.client.reset_caches(resets)
        probe = self.served.probe
        mark = probe.mark()
        answers = self.served.ask_all(requests, delays, in_line=in_line)
        steps = probe.since(mark).steps
        seen = self.judged(requests, answers, steps)
        return replace(seen, batches=batches(steps))

    def judged(
        self, requests: Sequence[Request], answers: Sequence[Answer], steps: Sequence[Step] = ()
    ) -> Seen:
        """Every answer against its own answer alone. `steps`: in which they were made."""
        pairs = list(zip(requests, answers, strict=True))
        meetings = beside_last_slot(self.served, steps)
        errors, wrong = [], []
        for request, answer in pairs:
            met = any(one.is_for(answer.id) for one in meetings)
            errors.append(self.error(request, answer, explained=met))
            if not errors[-1] <= self.tolerance:
                like = self._like(request, answer)
                signature = LAST_SLOT if met else ""
                wrong.append(
                    Wrong(request=request, error=errors[-1], like=like, signature=signature)
                )
        effects = [
            self._distance(request, self.served.ask_alone(self._whole(request)))
            for request in requests
            if self._acts(request)
        ]
        return Seen(
            requests=len(pairs),
            wrong=tuple(wrong),
            error=max(errors, default=0.0),
            effect=min(effects, default=math.inf),
        )

    def error(self, request: Request, answer: Answer, *, explained: bool = False) -> float:
        """Largest logprob difference to the answer alone; infinity where it is no answer at all.

        Rounding may decide between two tokens or two experts that are equally likely. So the
        reference, on the tokens that were answered, can overrule, unless the error is `explained`;
        where there is none, only what comes before another token was chosen can be compared.
        """
        alone = self.served.ask_alone(self._whole(request))
        if answer.problems(request, alone.prompt_tokens):
            return math.inf
        count = len(answer.token_ids)
        if not self.served.context.has_reference:
            return told_apart(beginning(alone, answer), answer)
        error = largest_difference(alone.logprobs[:count], answer.logprobs)
        same = answer.token_ids == alone.token_ids[:count] and error <= self.tolerance
        if same or explained:
            return error
        return self.by_reference(request, answer)

    def by_reference(self, request: Request, answer: Answer) -> float:
        """Largest logprob difference to the reference, or to what a known defect makes of it:
        whether that defect is there is judged elsewhere."""
        predict = predictable(self.served.family, request.model)
        truth = self.served.forced(request, answer, predict=predict)
        predicted = (values for several in truth.predicted.values() for values in several)
        rights = (truth.adapted, *truth.ties, *predicted)
        return min(largest_difference(right, answer.logprobs) for right in rights)

    def _acts(self, request: Request) -> bool:
        """Whether the answer must differ from the base's: a vision adapter leaves text alone."""
        text = acts_on_text(self.served.family, request.model)
        return request.model != self.served.base and bool(request.media or text)

    def _distance(self, request: Request, answer: Answer) -> float:
        """The error that the base's answer to the same question would have in this place."""
        base = self.served.ask_alone(self._whole(request).asking(self.served.base))
        if not self.served.context.has_reference:
            return told_apart(answer, replace(base, text=answer.text))
        return largest_difference(base.logprobs, answer.logprobs)

    def _like(self, request: Request, answer: Answer) -> str | None:
        """The tenant that answers so when asked alone, of those that were asked."""
        question = self._whole(request)
        for other, alone in self.served.alone.items():
            same = other.asking(request.model) == question
            count = len(answer.logprobs)
            if same and largest_difference(alone.logprobs[:count], answer.logprobs) <= (
                self.tolerance
            ):
                return other.model
        return None

    def _whole(self, request: Request) -> Request:
        return replace(request, max_tokens=self.longest, stream=False)


def beside_last_slot(served: Served, steps: Sequence[Step]) -> list[Met]:
    """The base's requests that met an adapter in one of these steps, where the server's last slot
    holds one: LAST_SLOT may have changed their answers."""
    if not steps:
        return []
    last = served.probe.workers()[0].slots - 1
    taken = any(use.slot == last for use in served.probe.adapters())
    return beside_adapters(steps) if taken else []


def beginning(whole: Answer, answer: Answer) -> Answer:
    """As many tokens of the `whole` answer as the other has; text is compared by its tokens."""
    count = len(answer.token_ids)
    return replace(
        whole,
        token_ids=whole.token_ids[:count],
        logprobs=whole.logprobs[:count],
        text=answer.text,
    )
