"""Before the first check of a 16-bit server: how noisy it is, and whether its adapters are seen.

Noise is the largest difference between clean runs: first answers from empty caches, the same from
full ones, and beside other questions to the same model. Never beside another adapter: what a
defect does there must not widen the tolerance, and the profile's own is the most in any case.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mm_lora.adapters.relatives import NAMES as RELATIVES
from mm_lora.adapters.sets import named
from mm_lora.checks.roles import everyone, first_tower, last_connector
from mm_lora.checks.running import Served
from mm_lora.core.asking import DICE_QUESTION, Answer, Request
from mm_lora.core.errors import MmLoraError, ServerError
from mm_lora.core.outcomes import NotPassed, moved, told_apart
from mm_lora.core.skips import NotApplicable
from mm_lora.run import tolerances, tuning_tables
from mm_lora.run.context import RunContext
from mm_lora.run.factors import stream_of
from mm_lora.run.tolerances import Allowed
from mm_lora.serving.server.process import VllmServer

ROUNDS = 3
"""So many servers are started for stronger adapters before the last is taken as it is."""


def _run(served: Served) -> RunContext:
    assert isinstance(served.context, RunContext)
    return served.context


def question(served: Served, model: str) -> Request:
    """What noise and effects are measured with: a picture of few units, 20 tokens at a place."""
    few = served.family.sizes.picture("few")
    return Request(model=model, text=DICE_QUESTION, pictures=(few,), top=20)


def of(served: Served) -> Allowed:
    """The tolerances of a running server; measured at the first call, 32 bits not at all.

    Adapters that are too weak are built stronger, and the server started again with them.
    """
    profile = _run(served).profile
    if not tolerances.is_measured(profile):
        return tolerances.of_profile(profile)
    known = _run(served).allowed
    if served.spec not in known:
        known[served.spec] = tolerances.of_profile(profile)  # whatever becomes of the measurement
        with _run(served).timings.of("noise and effects", served.spec.label):
            known[served.spec] = _measured(served)
    return known[served.spec]


def _measured(served: Served) -> Allowed:
    context = _run(served)
    try:
        allowed = _noise(served)
        effects = _effects(served)
        for _ in range(ROUNDS):
            factors = _factors(served, effects, allowed)
            if not factors:
                break
            said = ", ".join(f"{name} {factor:g} times" for name, factor in factors.items())
            context.progress.say(f"building stronger, their effect is too small: {said}")
            context.strengthen(served.spec.model, factors)
            served.restart()
            allowed = _noise(served)
            effects = _effects(served)
    except (NotPassed, NotApplicable, MmLoraError) as error:
        # A server that dies of it, or answers nothing valid: its checks will say so.
        first = str(error).splitlines()[0]
        allowed = tolerances.of_profile(context.profile, f"noise could not be measured: {first}")
        tuning_tables.add_rows(context, served.spec.label, allowed)
        return allowed
    _keep(served, effects, allowed)
    label = context.pool.get(served.spec).record.label
    tuning_tables.add_rows(context, label, allowed)
    strengths = {name: _strength(served, name) for name in effects}
    tuning_tables.add_effects(context, label, allowed, effects, strengths)
    return allowed


def _noise(served: Served) -> Allowed:
    """Ask the base first: in a whole run a check needs its answer before any adapter is used."""
    served.ask(Request(model=served.base, pictures=(served.family.sizes.picture("one"),)))
    noise, largest = 0.0, 0.0
    for name in (served.base, *(n for n in noisy(served) if _is_there(served, n))):
        answers = list(_clean_runs(served, question(served, name)))
        for answer in answers:
            if found := answer.problems(question(served, name), None):
                raise ServerError(f"{name} does not answer validly: {found[0]}")
        noise = max(noise, largest_noise(answers))
        largest = max(largest, *(abs(v) for a in answers for v in a.first_logprobs().values()))
    return tolerances.of_noise(_run(served).profile, noise, largest)


def noisy(served: Served) -> tuple[str, ...]:
    """Adapters whose noise is measured beside the base's: a first and a last part of the vision."""
    return (*first_tower(served.family), *last_connector(served.family))


def _clean_runs(served: Served, request: Request) -> Iterator[Answer]:
    """Right answers to one question in every state that a check may meet it in."""
    others = [
        replace(request, pictures=(served.family.sizes.picture("few", seed),)) for seed in (1, 2)
    ]
    yield _cold(served, request)
    yield _cold(served, request)
    yield served.ask_again(request)
    yield served.ask_all([request, *others])[0]
    _cold(served, others[0])
    yield served.ask_all([*others, request])[-1]


def largest_noise(answers: Sequence[Answer]) -> float:
    """The largest difference between any two answers to one question, by either way of judging."""
    pairs = [(a, b) for at, a in enumerate(answers) for b in answers[at + 1 :]]
    return max(told_apart(a, b) for a, b in pairs)


def _cold(served: Served, request: Request) -> Answer:
    try:
        return served.ask_cold(request)
    except NotApplicable:  # a remote server: its caches are as they are
        return served.ask_again(request)


def _is_there(served: Served, name: str) -> bool:
    started = _run(served).pool.get(served.spec)
    return (
        name in served.spec.adapters and name not in started.refused and name not in started.absent
    )


def _effects(served: Served) -> dict[str, float]:
    """Adapter → how far it moves the base's answer. Those whose claims need no reference."""
    base = served.ask(question(served, served.base)).first_logprobs()
    found = {}
    names = (*everyone(served.family), *RELATIVES)
    for name in names:
        spec = named(served.family, name)
        acts = spec.strength > 0
        if acts and _is_there(served, name):
            answer = served.ask(question(served, name))
            if not answer.problems(question(served, name), None):
                found[name] = moved(answer.first_logprobs(), base)
    return found


def _factors(served: Served, effects: dict[str, float], allowed: Allowed) -> dict[str, float]:
    """Family → the greater factor that it needs; nothing where the adapters are not ours."""
    if not isinstance(_run(served).pool.get(served.spec).server, VllmServer):
        return {}
    needed: dict[str, float] = {}
    for name, effect in effects.items():
        family = stream_of(served.family, name)
        has = _factor(served, family)
        factor = tolerances.factor_needed(effect, allowed.min_effect, has)
        if factor > has:
            needed[family] = max(factor, needed.get(family, 0.0))
    return needed


def _factor(served: Served, family: str) -> float:
    context = _run(served)
    return context.strengths.factor(context.builder, context.model(served.spec.model), family)


def _keep(served: Served, effects: dict[str, float], allowed: Allowed) -> None:
    """What was reached saves the next run the restart."""
    context = _run(served)
    for family in {stream_of(served.family, name) for name in effects}:
        mine = [
            effect for name, effect in effects.items() if stream_of(served.family, name) == family
        ]
        if _factor(served, family) > 1 and min(mine) >= allowed.min_effect:
            context.strengths.keep(context.builder, context.model(served.spec.model), family)


def _strength(served: Served, name: str) -> str:
    """How strong an adapter was built, for the report."""
    context = _run(served)
    if context.options.base_url:
        return "as it was there" if name in context.remote.adapters else "as named"
    spec, factor = (
        context.adapters(served.spec.model, (name,))[name].spec,
        _factor(served, stream_of(served.family, name)),
    )
    if spec is None:
        return "own"
    return f"{spec.strength:g}" + (f" ({factor:g} times what it was)" if factor > 1 else "")
