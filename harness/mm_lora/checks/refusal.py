"""Offers an adapter to a server and reports whether it was refused, how, or what it does.

An adapter must be applied exactly or be refused as the client's fault (4xx) with words that name
what is wrong; and whatever became of it, the others must answer as before.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import acts_on_text, first_connector
from mm_lora.checks.running import Served
from mm_lora.core.asking import TEXT_QUESTION, Answer, Request
from mm_lora.core.outcomes import NotPassed, moved
from mm_lora.core.table import Column, Kind
from mm_lora.families.family import Family

TITLE = "Bad and unusual adapters"
COLUMNS = (
    "model",
    "adapter",
    "a user should get",
    Column("HTTP", Kind.COUNT),
    "vLLM says",
    "effect",
    "others",
)
_before: "WeakKeyDictionary[Served, dict[str, Answer]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Offered:
    """What became of an offer. `effect`: what the adapter does once it was accepted, else ""."""

    status: int
    said: str
    effect: str = ""
    answer: Answer | None = None

    @property
    def accepted(self) -> bool:
        """Whether the server took it."""
        return self.status == 200

    @property
    def seen(self) -> str:
        """In one line, for the verdict."""
        return f"HTTP {self.status}: {self.said[:600]}" + (self.effect and f"; {self.effect}")


def request_for(served: Served, name: str) -> Request:
    """What every adapter is asked here: one unit, so that each module group sees rows."""
    return Request(model=name, pictures=(served.family.sizes.picture("one"),), top=20)


def about_text(name: str) -> Request:
    """Text alone: so short that it leaves one block of the KV cache half full."""
    return Request(model=name, text=TEXT_QUESTION, top=20)


def moves_text(family: Family) -> bool:
    """Whether what is offered can harm an answer about text alone."""
    return acts_on_text(family, family.good.adapter)


def offer(served: Served, check: Judge, name: str, path: Path) -> Offered:
    """Load, ask, unload. The name must be new to the server: caches know adapters by name."""
    status, said = served.load(name, path)
    said = said.replace(str(path), "PATH")
    if status != 200:
        return Offered(status, said)
    try:
        answer = served.ask_cold(request_for(served, name))
        if moves_text(served.family):
            served.ask_cold(about_text(name))  # the next request gets the cache block of this one
        return Offered(status, said, effect_of(served, check, answer), answer)
    finally:
        served.unload(name)


def effect_of(served: Served, check: Judge, answer: Answer) -> str:
    """What an accepted adapter does to an answer, in words."""
    if answer.status != 200:
        return f"asked, it answers HTTP {answer.status}: {str(answer.raw)[:300]}"
    base = witnesses(served)[served.base]
    if problems := answer.problems(request_for(served, answer.model), base.prompt_tokens):
        return f"asked, it answers with {'; '.join(problems)}"
    distance = moved(answer.first_logprobs(), base.first_logprobs())
    if distance <= check.same:
        return "it answers as the base"
    return f"it answers {distance:.3g} away from the base"


def witness_names(family: Family) -> tuple[str, ...]:
    """Good adapters that may be on a server beside a bad one."""
    return (*first_connector(family), "language-v_proj")


def others(served: Served) -> dict[str, Request]:
    """What is asked of others than the one offered, by whom; text first, after its own text."""
    good = next(name for name in witness_names(served.family) if name in served.spec.adapters)
    text = {}
    if moves_text(served.family):
        text[f"{served.base} about text"] = about_text(served.base)
    return {**text, **{name: request_for(served, name) for name in (served.base, good)}}


def witnesses(served: Served, *, afresh: bool = False) -> dict[str, Answer]:
    """The base and one good adapter, each asked from empty caches; the first answers are kept."""
    known = _before.get(served)
    if known is None or afresh:
        now = {name: served.ask_cold(request) for name, request in others(served).items()}
        if known is None:
            _before[served] = now
        return now
    return known


def unharmed(served: Served, check: Judge, name: str) -> str:
    """Judge that the others answer bit by bit as before and that `name` is gone.

    A server that was harmed is given up: the next check gets a fresh one.
    """
    before, now, requests = witnesses(served), witnesses(served, afresh=True), others(served)
    try:
        for other, answer in before.items():
            request = requests[other]
            check.equal([], answer.problems(request, None), f"{other} did not answer before")
            truth = served.forced(request, answer)
            check.agrees(truth.adapted, answer.logprobs, base=None, elsewhere=truth.mistaken)
            same = (answer.token_ids, answer.logprobs) == (
                now[other].token_ids,
                now[other].logprobs,
            )
            check.claim(
                same,
                expected=answer.logprobs,
                observed=now[other].logprobs or f"HTTP {now[other].status}: {now[other].raw}",
                reason=f"{other} answers otherwise since",
            )
    except NotPassed:
        _before.pop(served)
        served.context.pool.release(served.spec)
        raise
    left = (name in served.listed, served.ask_again(request_for(served, name)).status)
    served.unload(name)  # what a refusal leaves behind must not meet the next check
    if name != served.base:
        check.equal(False, left[0], "the adapter is still listed")
        check.equal(404, left[1], "the adapter still answers")
    return f"{', '.join(before)} as before"


def judge_refused(
    context: Context,
    served: Served,
    check: Judge,
    name: str,
    what: str,
    offered: Offered,
    says: str,
) -> None:
    """Judge the others first, since harm to them is worse; then how it was refused."""
    table = context.table("refusal", TITLE, COLUMNS, brief=False)
    place = table.add(
        served.spec.model,
        what,
        "refusal" if says else "applied",
        offered.status,
        offered.said[:160],
        offered.effect or "none",
        "harmed",
    )
    table.set(place, "others", unharmed(served, check, name))
    if not says:
        return
    expected = f"refused with HTTP 4xx and a message that matches {says}"
    found = re.search(says, offered.said) is not None
    check.claim(
        not offered.accepted,
        expected=expected,
        observed=offered.seen,
        reason="accepted",
        predicted_by=("as-the-base",) if "as the base" in offered.effect else (),
    )
    check.claim(found, expected=expected, observed=offered.seen, reason="refused, but not why")
    check.claim(
        400 <= offered.status < 500,
        expected=expected,
        observed=offered.seen,
        reason="refused with a server error instead of a client error",
    )
