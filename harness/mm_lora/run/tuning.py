"""Measures a 16-bit server before its first check: its noise, and its adapters' effects.

Noise is the largest difference between clean runs: first answers from empty caches, the same from
full ones, and beside other questions to the same model. Never beside another adapter: what a
defect does there must not widen the tolerance, and the profile's own is the most in any case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mm_lora.adapters.relatives import NAMES as RELATIVES
from mm_lora.adapters.sets import named
from mm_lora.checks.roles import everyone, first_tower, last_connector
from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, Answer, Request
from mm_lora.core.errors import MmLoraError, ServerError
from mm_lora.core.outcomes import NotPassed, moved, told_apart
from mm_lora.core.skips import NotApplicable
from mm_lora.run import tolerances, tuning_tables
from mm_lora.run.factors import stream_of
from mm_lora.run.tolerances import Allowed
from mm_lora.serving.pool import Started
from mm_lora.serving.server.process import VllmServer

if TYPE_CHECKING:
    from mm_lora.run.context import RunContext

ROUNDS = 3
"""So many servers are started for stronger adapters before the last is taken as it is."""


def question(served: Served, model: str) -> Request:
    """What noise and effects are measured with: a picture of few units, 20 tokens at a place."""
    few = served.family.sizes.picture("few")
    return Request(model=model, text=DICE_QUESTION, pictures=(few,), top=20)


def noisy(served: Served) -> tuple[str, ...]:
    """Adapters whose noise is measured beside the base's: a first and a last part of the vision."""
    return (*first_tower(served.family), *last_connector(served.family))


def largest_noise(answers: Sequence[Answer]) -> float:
    """The largest difference between any two answers to one question, by either way of judging."""
    pairs = [(a, b) for at, a in enumerate(answers) for b in answers[at + 1 :]]
    return max(told_apart(a, b) for a, b in pairs)


class Tuning:
    """One running server of a run, measured; its adapters built stronger where they must be."""

    def __init__(self, context: "RunContext", served: Served) -> None:
        self._context = context
        self._served = served

    def allowed(self) -> Allowed:
        """The server's tolerances. Adapters that are too weak are built stronger, and the server is
        started again with them."""
        context = self._context
        try:
            allowed, effects = self._noise(), self._effects()
            for _ in range(ROUNDS):
                factors = self._factors(effects, allowed)
                if not factors:
                    break
                said = ", ".join(f"{name} {factor:g} times" for name, factor in factors.items())
                context.progress.say(f"building stronger, their effect is too small: {said}")
                context.builds.strengthen(self._served.spec.model, factors)
                self._served.restart()
                allowed, effects = self._noise(), self._effects()
        except (NotPassed, NotApplicable, MmLoraError) as error:
            # A server that dies of it, or answers nothing valid: its checks will say so.
            first = str(error).splitlines()[0]
            allowed = tolerances.of_profile(
                context.profile, f"noise could not be measured: {first}"
            )
            tuning_tables.add_rows(context, self._served.spec.label, allowed)
            return allowed
        self._keep(effects, allowed)
        label = self._started.record.label
        tuning_tables.add_rows(context, label, allowed)
        strengths = {name: self._strength(name) for name in effects}
        tuning_tables.add_effects(context, label, allowed, effects, strengths)
        return allowed

    @property
    def _started(self) -> Started:
        return self._context.pool.get(self._served.spec)

    def _noise(self) -> Allowed:
        """Ask the base first: in a whole run a check needs its answer before any adapter is
        used."""
        served = self._served
        served.ask(Request(model=served.base, pictures=(served.family.sizes.picture("one"),)))
        noise, largest = 0.0, 0.0
        for name in (served.base, *(name for name in noisy(served) if self._is_there(name))):
            answers = list(self._clean_runs(question(served, name)))
            for answer in answers:
                if found := answer.problems(question(served, name), None):
                    raise ServerError(f"{name} does not answer validly: {found[0]}")
            noise = max(noise, largest_noise(answers))
            largest = max(largest, *(abs(v) for a in answers for v in a.first_logprobs().values()))
        return tolerances.of_noise(self._context.profile, noise, largest)

    def _clean_runs(self, request: Request) -> Iterator[Answer]:
        """Right answers to one question in every state that a check may meet it in."""
        served = self._served
        draw = served.family.sizes.picture
        others = [replace(request, pictures=(draw("few", seed),)) for seed in (1, 2)]
        yield self._cold(request)
        yield self._cold(request)
        yield served.ask_again(request)
        yield served.ask_all([request, *others])[0]
        self._cold(others[0])
        yield served.ask_all([*others, request])[-1]

    def _cold(self, request: Request) -> Answer:
        try:
            return self._served.ask_cold(request)
        except NotApplicable:  # a remote server: its caches are as they are
            return self._served.ask_again(request)

    def _is_there(self, name: str) -> bool:
        started = self._started
        return (
            name in self._served.spec.adapters
            and name not in started.refused
            and name not in started.absent
        )

    def _effects(self) -> dict[str, float]:
        """Adapter → how far it moves the base's answer. Those whose claims need no reference."""
        served = self._served
        base = served.ask(question(served, served.base)).first_logprobs()
        found = {}
        for name in (*everyone(served.family), *RELATIVES):
            acts = named(served.family, name).strength > 0
            if acts and self._is_there(name):
                answer = served.ask(question(served, name))
                if not answer.problems(question(served, name), None):
                    found[name] = moved(answer.first_logprobs(), base)
        return found

    def _factors(self, effects: dict[str, float], allowed: Allowed) -> dict[str, float]:
        """Stream → the greater factor that it needs; nothing where the adapters are not ours."""
        if not isinstance(self._started.server, VllmServer):
            return {}
        needed: dict[str, float] = {}
        for name, effect in effects.items():
            stream = self._stream(name)
            has = self._factor(stream)
            factor = tolerances.factor_needed(effect, allowed.min_effect, has)
            if factor > has:
                needed[stream] = max(factor, needed.get(stream, 0.0))
        return needed

    def _stream(self, name: str) -> str:
        return stream_of(self._served.family, name)

    def _factor(self, stream: str) -> float:
        builds, model = self._context.builds, self._context.model(self._served.spec.model)
        return builds.factors.factor(builds.builder, model, stream)

    def _keep(self, effects: dict[str, float], allowed: Allowed) -> None:
        """What was reached saves the next run the restart."""
        builds, model = self._context.builds, self._context.model(self._served.spec.model)
        for stream in {self._stream(name) for name in effects}:
            mine = [effect for name, effect in effects.items() if self._stream(name) == stream]
            if self._factor(stream) > 1 and min(mine) >= allowed.min_effect:
                builds.factors.keep(builds.builder, model, stream)

    def _strength(self, name: str) -> str:
        """How strong an adapter was built, for the report."""
        context = self._context
        if context.options.base_url:
            return "as it was there" if name in context.remote.server.adapters else "as named"
        spec = context.adapters(self._served.spec.model, (name,))[name].spec
        if spec is None:
            return "own"
        factor = self._factor(self._stream(name))
        return f"{spec.strength:g}" + (f" ({factor:g} times what it was)" if factor > 1 else "")
