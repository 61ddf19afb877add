"""Isolation: each answer in a batch equals the answer given alone, whoever else is served.

What a request alone must answer is judged against transformers (`alone`, and group numerics); here
the truth is the server's own answer to it, asked alone from empty caches.
"""

import random
from itertools import permutations

import pytest

from mm_lora.adapters.sets import ALL
from mm_lora.checks.context import Context
from mm_lora.checks.isolation.batches import reuse
from mm_lora.checks.isolation.claims import MET, judge_scenario, until_met
from mm_lora.checks.isolation.questions import (
    FEW,
    LONG,
    LONG_PICTURE,
    MANY,
    ONE,
    TWO,
    anyone,
    everyone,
    questions,
    request_for,
    smallest,
)
from mm_lora.checks.isolation.servers import SERVERS, at_once, on, to_draw_from
from mm_lora.checks.isolation.traffic import Seen, Traffic
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import (
    Names,
    first_connector,
    first_tower,
    language,
    last_connector,
    tenants,
    towers,
)
from mm_lora.checks.running import Served
from mm_lora.core.asking import BASE
from mm_lora.families.family import Family


def without_pictures(family: Family) -> Names:
    """Who is also asked about text alone: the base, a vision adapter, the language model."""
    return (BASE, towers(family)[-1], language(family)[0])


EVERY_SERVER = pytest.mark.parametrize("server", [on(name) for name in SERVERS])


@pytest.mark.check(
    "isolation/{model}/mixed-batch/{server}",
    title="the base and every adapter answer in one mixed batch as they do alone ({server})",
)
@pytest.mark.parametrize("server", [on(name, core=name == "free-slots") for name in SERVERS])
def test_mixed_batch(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    family = served.family
    least = {**MET, "adapters": at_once(server, family)}
    burst = (everyone(family, tenants(family), text=without_pictures(family)), ())
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3, least)
    judge_scenario(check, context, f"{model}/mixed-batch/{server}", seen, least)


@pytest.mark.check(
    "isolation/{model}/base-beside-one/{server}",
    title="the base answers beside an adapter in the only slot as it does alone",
)
@pytest.mark.parametrize("server", [on("one-slot")])
def test_base_beside_one(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    burst = ([request_for(served.family, tenant, ONE, 32) for tenant in (ALL, BASE) * 2], ())
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3, {"language": 1})
    judge_scenario(check, context, f"{model}/base-beside-one/{server}", seen, {"language": 1})


@pytest.mark.check(
    "isolation/{model}/same-picture/a-base-b-a",
    title="adapter A, the base, adapter B and A again each see a picture in their own way",
)
@pytest.mark.parametrize("server", [on("free-slots", core=True)])
def test_same_picture(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    first, last = first_tower(served.family), last_connector(served.family)
    order = (*first, BASE, *last, *first)
    seen = in_order(Traffic(served, check.tolerance), order)
    judge_scenario(check, context, f"{model}/same-picture/a-base-b-a", seen)


@pytest.mark.check(
    "isolation/{model}/same-picture/every-order-{server}",
    title="four tenants ask about a picture in every order; each sees it in its own way ({server})",
)
@EVERY_SERVER
def test_every_order(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    traffic = Traffic(served, check.tolerance)
    seen = Seen()
    family = served.family
    four = (BASE, towers(family)[-1], *first_connector(family), ALL)
    for order in permutations(four):
        seen += in_order(traffic, (*order, order[0]))
    judge_scenario(check, context, f"{model}/same-picture/every-order-{server}", seen)


def in_order(traffic: Traffic, order: tuple[str, ...]) -> Seen:
    """One after the other from empty caches, which are then left alone."""
    requests = [request_for(traffic.served.family, tenant, ONE) for tenant in order]
    traffic.learn(requests)
    traffic.served.client.reset_caches()
    return traffic.judged(requests, [traffic.served.ask_again(one) for one in requests])


@pytest.mark.check(
    "isolation/{model}/same-picture/at-once-{server}",
    title="all tenants ask about one picture at once, and each answers as it does alone ({server})",
)
@EVERY_SERVER
def test_at_once(model: str, server: str, served: Served, check: Judge, context: Context) -> None:
    chance = random.Random(f"{context.seed}/{server}")
    everybody = tenants(served.family)
    orders = [chance.sample(everybody, len(everybody)) for _ in range(3)]
    bursts = [
        ([request_for(served.family, tenant, FEW) for tenant in order], ()) for order in orders
    ]
    seen = until_met(Traffic(served, check.tolerance), bursts)
    judge_scenario(check, context, f"{model}/same-picture/at-once-{server}", seen, MET)


@pytest.mark.check(
    "isolation/{model}/in-flight/{count}-{server}",
    title="{count} random requests in flight are each answered as they are alone ({server})",
)
@EVERY_SERVER
@pytest.mark.parametrize("count", [4, 16, 64])
def test_in_flight(
    model: str, server: str, count: int, served: Served, check: Judge, context: Context
) -> None:
    chance = random.Random(f"{context.seed}/{server}/{count}")
    family = served.family
    draw_from = to_draw_from(server, family)
    traffic = Traffic(served, check.tolerance)
    seen = traffic.burst(anyone(family, draw_from, count, chance))
    if not seen.unexplained:
        bursts = [(anyone(family, draw_from, count, chance), ()) for _ in range(5)]
        # Few requests with long prompts may never begin in one step: two of the smallest do.
        bursts += [(smallest(family, draw_from, count, chance), ()) for _ in range(3)]
        seen += until_met(traffic, bursts)
    judge_scenario(check, context, f"{model}/in-flight/{count}-{server}", seen, MET)


@pytest.mark.check(
    "isolation/{model}/decode-with-prefill/{server}",
    title="tenants that decode during other prompts' prefill answer as they do alone ({server})",
)
@EVERY_SERVER
def test_decode_with_prefill(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    least = {"decoding": 3}
    questions, everybody = (LONG_PICTURE, ONE, LONG, MANY), tenants(served.family)
    requests = [
        request_for(served.family, tenant, questions[at % len(questions)], 32)
        for at, tenant in enumerate((*everybody, *reversed(everybody)))
    ]
    burst = (requests, [0.1 * at for at in range(len(requests))])
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3, least)
    judge_scenario(check, context, f"{model}/decode-with-prefill/{server}", seen, least)


@pytest.mark.check(
    "isolation/{model}/prefill-in-pieces/{server}",
    title="prompts that are prefilled in pieces are answered as they are alone ({server})",
)
@pytest.mark.parametrize("server", [on("few-slots")])
def test_prefill_in_pieces(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    least = {"language": 1, "pieces": 4}
    questions, family = (MANY, LONG_PICTURE, LONG), served.family
    requests = [
        request_for(family, tenant, questions[at % 3], 24)
        for at, tenant in enumerate(tenants(family))
    ]
    burst = (requests, ())
    seen = until_met(Traffic(served, check.tolerance), [burst] * 3, least)
    judge_scenario(check, context, f"{model}/prefill-in-pieces/{server}", seen, least)


# What must have been reused, True or False; None where no server of the profile tells.
WARM = {
    "nothing": (False, False),
    "prefix": (True, None),
    "encoder": (False, True),
    "mm": (False, False),
    "everything": (True, True),
}
HAS_NOT = {("few-slots", "mm"), ("one-slot", "prefix")}
"""A server without that cache."""


@pytest.mark.check(
    "isolation/{model}/cache/{warm}-{server}",
    title="other tenants' warm caches change no answer (warm: {warm}; {server})",
)
@pytest.mark.parametrize(
    ("server", "warm"),
    [
        pytest.param(server, warm, marks=on(server).marks)
        for server in SERVERS
        for warm in WARM
        if (server, warm) not in HAS_NOT
    ],
)
def test_cache(
    model: str, server: str, warm: str, served: Served, check: Judge, context: Context
) -> None:
    emptied = [name for name in ("prefix", "mm", "encoder") if warm not in (name, "everything")]
    traffic = Traffic(served, check.tolerance)
    # A picture's key has the adapter's name, and is in its blocks' keys: text alone has none.
    text = (LONG,) if WARM[warm][0] else ()
    family = served.family
    asked = [which for which in (ONE, TWO, *text) if which in questions(family)]
    requests = [request_for(family, tenant, which) for which in asked for tenant in tenants(family)]
    requests += reversed(requests)
    traffic.learn(requests)
    served.client.reset_caches()
    mark = served.probe.mark()
    answers = []
    for request in requests:
        served.client.reset_caches(emptied)
        answers.append(served.ask_again(request))
    judge_scenario(
        check, context, f"{model}/cache/{warm}-{server}", traffic.judged(requests, answers)
    )
    found = reuse(served.probe.since(mark).steps, list(zip(requests, answers, strict=True)))
    prompts, pictures = WARM[warm]
    if (server, "prefix") in HAS_NOT:
        prompts = False
    check.proves(
        prompts in (None, found.prompts > 0) and pictures in (None, found.pictures > 0),
        expected={"prompts reused": prompts, "pictures reused": pictures},
        observed=found,
        reason="the caches were not used as the claim requires",
    )


@pytest.mark.truth("reference")
@pytest.mark.check(
    "isolation/{model}/alone/{server}",
    title="every tenant, asked alone, agrees with transformers ({server})",
)
@EVERY_SERVER
def test_alone(model: str, server: str, served: Served, check: Judge) -> None:
    traffic = Traffic(served, check.tolerance)
    wrong = {}
    for question in (ONE, MANY, LONG):
        for tenant in tenants(served.family):
            request = request_for(served.family, tenant, question)
            error = traffic.by_reference(request, served.ask_cold(request))
            if not error <= check.tolerance:
                wrong[f"{tenant} {question}"] = error
    check.equal({}, wrong, "an answer alone differs from transformers")
