"""Isolation: every answer in company is the one given alone, whoever else is on the server.

What a request alone must answer is judged against transformers (`alone`, and group numerics); here
the truth is the server's own answer to it, asked alone from empty caches.
"""

import random
from collections.abc import Iterator, Mapping
from itertools import permutations

import pytest

from mm_lora.isolation.questions import ADAPTERS, QUESTIONS, anyone, asked, everyone
from mm_lora.isolation.table import add_row
from mm_lora.isolation.traffic import Seen, Traffic
from mm_lora.judging import Judge
from mm_lora.lab import Lab
from mm_lora.served import Served

TENANTS = ("base", *ADAPTERS)
TEXT = ("base", "tower-mlp", "language-model")

# Few servers, each with several things that could go wrong: what goes wrong there is then reduced.
SERVERS: Mapping[str, dict[str, object]] = {
    "free-slots": {},
    "every-slot": {"max-loras": len(ADAPTERS), "max-num-batched-tokens": 256},
    "few-slots": {"max-loras": 3, "mm-processor-cache-gb": 0},
    "one-slot": {"max-loras": 1, "no-enable-prefix-caching": True},
}
SLOTS = {"every-slot": len(ADAPTERS), "few-slots": 3, "one-slot": 1}


def on(server: str, *, core: bool = False) -> object:
    mark = pytest.mark.server(adapters=ADAPTERS, flags=SERVERS[server], probe=True)
    return pytest.param(server, marks=[mark] if core else [mark, pytest.mark.full], id=server)


EVERY_SERVER = pytest.mark.parametrize("server", [on(name) for name in SERVERS])


def finish(
    check: Judge, lab: Lab, scenario: str, seen: Seen, least: Mapping[str, int] | None = None
) -> None:
    """The row of the table, then the verdict: right answers, and a batch that was one."""
    add_row(lab, scenario, seen)
    check.settle(seen.verdict(tolerance=check.tolerance, min_effect=check.min_effect))
    wanted = dict(least or {"encoder": 1, "language": 1})
    check.proves(
        not seen.batches.lacks(wanted),
        expected=wanted,
        observed=seen.batches.lacks(wanted),
        reason="the requests were not batched as the claim needs it",
    )


def until_met(
    traffic: Traffic, least: Mapping[str, int], bursts: Iterator[tuple[list, list[float]]]
) -> Seen:
    """Burst after burst, three at most, until what has to be seen was seen."""
    seen = Seen()
    for requests, delays in bursts:
        seen += traffic.burst(requests, delays=delays)
        if seen.wrong or not seen.batches.lacks(dict(least)):
            break
    return seen


@pytest.mark.check(
    "isolation/{model}/mixed-batch/{server}",
    title="base and every adapter in one batch, {server}: each answers as when alone",
)
@pytest.mark.parametrize("server", [on(name, core=name == "free-slots") for name in SERVERS])
def test_mixed_batch(model: str, server: str, served: Served, check: Judge, lab: Lab) -> None:
    traffic = Traffic(served, check.tolerance)
    requests = everyone(TENANTS, text=TEXT)
    least = {"encoder": 1, "language": 1, "adapters": SLOTS.get(server, 2)}
    seen = until_met(traffic, least, iter([(requests, [])] * 3))
    finish(check, lab, f"{model}/mixed-batch/{server}", seen, least)


@pytest.mark.check(
    "isolation/{model}/same-picture/a-base-b-a",
    title="A, base, B, A on one picture: each sees it through its own adapter",
)
@pytest.mark.server(adapters=ADAPTERS, probe=True)
def test_same_picture(model: str, served: Served, check: Judge, lab: Lab) -> None:
    order = ("tower-attention", "base", "projector", "tower-attention")
    seen = in_order(Traffic(served, check.tolerance), order)
    add_row(lab, f"{model}/same-picture/a-base-b-a", seen)
    check.settle(seen.verdict(tolerance=check.tolerance, min_effect=check.min_effect))


@pytest.mark.check(
    "isolation/{model}/same-picture/every-order-{server}",
    title="one picture for four tenants in every order, {server}: none sees another one's",
)
@EVERY_SERVER
def test_every_order(model: str, server: str, served: Served, check: Judge, lab: Lab) -> None:
    traffic = Traffic(served, check.tolerance)
    seen = Seen()
    for order in permutations(("base", "tower-mlp", "vision-adapter", "all")):
        seen += in_order(traffic, (*order, order[0]))
    add_row(lab, f"{model}/same-picture/every-order-{server}", seen)
    check.settle(seen.verdict(tolerance=check.tolerance, min_effect=check.min_effect))


def in_order(traffic: Traffic, order: tuple[str, ...]) -> Seen:
    """One after the other from empty caches, which are then left alone."""
    requests = [asked(tenant, "1-chunk") for tenant in order]
    traffic.learn(requests)
    traffic.served.client.reset_caches()
    return traffic.judged(requests, [traffic.served.ask_again(one) for one in requests])


@pytest.mark.check(
    "isolation/{model}/same-picture/at-once-{server}",
    title="one picture for every tenant at once, {server}: each answers as when alone",
)
@EVERY_SERVER
def test_at_once(model: str, server: str, served: Served, check: Judge, lab: Lab) -> None:
    traffic = Traffic(served, check.tolerance)
    least = {"encoder": 1, "language": 1}
    orders = (
        [asked(tenant, "3-chunks") for tenant in random.Random(turn).sample(TENANTS, len(TENANTS))]
        for turn in range(3)
    )
    seen = until_met(traffic, least, ((requests, []) for requests in orders))
    finish(check, lab, f"{model}/same-picture/at-once-{server}", seen, least)


@pytest.mark.check(
    "isolation/{model}/in-flight/{count}-{server}",
    title="{count} random requests in flight, twice, {server}: each answers as when alone",
)
@EVERY_SERVER
@pytest.mark.parametrize("count", [4, 16, 64])
def test_in_flight(
    model: str, server: str, count: int, served: Served, check: Judge, lab: Lab
) -> None:
    traffic = Traffic(served, check.tolerance)
    chance = random.Random(f"{lab.options.seed}/{server}/{count}")
    seen = Seen()
    for turn in range(6):
        seen += traffic.burst(anyone(TENANTS, count, chance))
        if seen.wrong or (turn and not seen.batches.lacks({"encoder": 1, "language": 1})):
            break
    finish(check, lab, f"{model}/in-flight/{count}-{server}", seen)


@pytest.mark.check(
    "isolation/{model}/decode-with-prefill/{server}",
    title="some decode while others' prompts are read, {server}: each answers as when alone",
)
@EVERY_SERVER
def test_decode_with_prefill(
    model: str, server: str, served: Served, check: Judge, lab: Lab
) -> None:
    traffic = Traffic(served, check.tolerance)
    least = {"decoding": 3, "language": 1}
    questions = ("long-text-picture", "1-chunk", "long-text", "7-chunks")
    requests = [
        asked(tenant, questions[at % len(questions)], 32)
        for at, tenant in enumerate((*TENANTS, *reversed(TENANTS)))
    ]
    delays = [0.1 * at for at in range(len(requests))]
    seen = until_met(traffic, least, iter([(requests, delays)] * 3))
    finish(check, lab, f"{model}/decode-with-prefill/{server}", seen, least)


@pytest.mark.check(
    "isolation/{model}/prefill-in-pieces/{server}",
    title="prompts read in pieces of 256 tokens, {server}: each answers as when alone",
)
@pytest.mark.parametrize("server", [on("every-slot")])
def test_prefill_in_pieces(model: str, server: str, served: Served, check: Judge, lab: Lab) -> None:
    traffic = Traffic(served, check.tolerance)
    least = {"pieces": 4, "encoder": 1, "language": 1}
    questions = ("7-chunks", "long-text-picture", "long-text")
    requests = [asked(tenant, questions[at % 3], 24) for at, tenant in enumerate(TENANTS)]
    seen = until_met(traffic, least, iter([(requests, [])] * 3))
    finish(check, lab, f"{model}/prefill-in-pieces/{server}", seen, least)


@pytest.mark.check(
    "isolation/{model}/cache/{kept}-{server}",
    title="{kept} left warm by other tenants, {server}: every answer as when alone",
)
@EVERY_SERVER
@pytest.mark.parametrize("kept", ["nothing", "prefix", "encoder", "processor", "everything"])
def test_cache(model: str, server: str, kept: str, served: Served, check: Judge, lab: Lab) -> None:
    kept_name = {"processor": "mm"}.get(kept, kept)
    resets = [name for name in ("prefix", "mm", "encoder") if kept_name not in (name, "everything")]
    traffic = Traffic(served, check.tolerance)
    requests = [asked(t, q) for q in ("1-chunk", "two-pictures") for t in TENANTS]
    traffic.learn(requests)
    served.client.reset_caches()
    answers = []
    for request in [*requests, *reversed(requests)]:
        served.client.reset_caches(resets)
        answers.append(served.ask_again(request))
    seen = traffic.judged([*requests, *reversed(requests)], answers)
    add_row(lab, f"{model}/cache/{kept}-{server}", seen)
    check.settle(seen.verdict(tolerance=check.tolerance, min_effect=check.min_effect))


@pytest.mark.check(
    "isolation/{model}/alone/{server}",
    title="alone on a server with {server}, every tenant answers as transformers does",
)
@EVERY_SERVER
def test_alone(model: str, server: str, served: Served, check: Judge, lab: Lab) -> None:
    traffic = Traffic(served, check.tolerance)
    wrong = {}
    for question in ("1-chunk", "7-chunks", "long-text"):
        for tenant in TENANTS:
            request = asked(tenant, question)
            error = traffic.by_reference(request, served.ask_cold(request))
            if not error <= check.tolerance:
                wrong[f"{tenant} {question}"] = error
    check.equal({}, wrong, "an answer alone is not transformers'")


assert all(text in TENANTS for text in TEXT), "a tenant that nobody serves"
assert set(QUESTIONS) >= {"1-chunk", "text"}, "a question that nobody knows"
