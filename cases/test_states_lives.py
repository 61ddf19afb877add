"""States: requests with disturbed lives, each answered as it is alone.

Preempted and read again, read in part from a cache, left by a neighbour, moved in the batch, kept
waiting for the encoder.
"""

from functools import partial
from itertools import pairwise, permutations

import pytest

from mm_lora.checks.context import Context
from mm_lora.checks.isolation.claims import Burst, judge_scenario, until_met
from mm_lora.checks.isolation.questions import FEW, ONE, request_for
from mm_lora.checks.isolation.servers import flags
from mm_lora.checks.isolation.traffic import Seen, Traffic
from mm_lora.checks.judging import Judge
from mm_lora.checks.roles import Names, everyone, language, of_each_role, tenants
from mm_lora.checks.running import Served
from mm_lora.checks.states import leaving, waiting
from mm_lora.checks.states.small_cache import BLOCK, BLOCKS, FLAGS, cached, span, too_many
from mm_lora.checks.states.texts import filled
from mm_lora.core.asking import BASE, Request
from mm_lora.families.family import Family

pytestmark = pytest.mark.full


def who(family: Family) -> Names:
    return tuple(dict.fromkeys((*everyone(family), *of_each_role(family))))


SMALL = pytest.mark.server(adapters=who, flags=FLAGS, probe=True)
FREE = pytest.mark.server(adapters=who, probe=True)
"""As the server of group isolation that has free slots."""
ONE_SLOT = pytest.mark.server(adapters=who, flags=partial(flags, "one-slot"), probe=True)

LENGTHS = (4, 8, 12, 16)


@SMALL
@pytest.mark.check(
    "states/{model}/preempted/{cache}",
    title="requests that are preempted and read again are answered as they are alone ({cache})",
)
@pytest.mark.parametrize("cache", ["small-cache"])
def test_preempted(model: str, cache: str, served: Served, check: Judge, context: Context) -> None:
    least = {"recomputed": 2, "language": 1}
    # Whose adapter ends before the language model has nothing to lose when it is read again.
    requests = too_many(served, (BASE, *language(served.family)), 48)
    traffic = Traffic(served, check.tolerance, longest=requests[0].max_tokens)
    burst: Burst = (requests, ())
    seen = until_met(traffic, [burst] * 5, least)
    judge_scenario(check, context, f"{model}/preempted/{cache}", seen, least)


@SMALL
@pytest.mark.check(
    "states/{model}/hit-in-picture/{adapter}",
    title="{adapter} answers the same where the prefix cache has a part of the picture",
)
@pytest.mark.each("adapter", of_each_role)
def test_hit_in_picture(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    """A long text takes the blocks that were freed first: those of the prompt's end."""
    traffic = Traffic(served, check.tolerance)
    request = request_for(served.family, adapter, FEW)
    plain = Request(model=served.base, text=request.text, max_tokens=1)
    added = served.image_prompt_tokens(request)
    alone = served.ask_alone(request)
    first, end = span(served.ask(plain).prompt_ids, alone.prompt_ids, added)
    kept = (first + end) // 2 // BLOCK
    text = filled(served, served.base, (BLOCKS - kept) * BLOCK - BLOCK // 2, answer=1)
    traffic.learn([request])
    served.client.reset_caches()
    served.ask_again(request)
    served.ask_again(text)
    served.client.reset_caches(["encoder"])
    mark = served.probe.mark()
    answer = served.ask_again(request)
    hit = cached(served.probe.since(mark).steps, answer)
    seen = traffic.judged([request], [answer])
    judge_scenario(check, context, f"{model}/hit-in-picture/{adapter}", seen)
    check.proves(
        first < hit < end,
        expected=f"a hit that ends between token {first} and {end}",
        observed=hit,
        reason="the hit does not end inside the picture",
    )


@FREE
@pytest.mark.check(
    "states/{model}/client-leaves/{server}",
    title="clients that disconnect in the middle of a batch change no other answer ({server})",
)
@pytest.mark.parametrize("server", ["free-slots"])
def test_client_leaves(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    traffic = Traffic(served, check.tolerance, longest=64)
    family = served.family
    staying = [
        request_for(family, tenant, (ONE, FEW)[at % 2], 64 - 4 * at)
        for at, tenant in enumerate(tenants(family))
    ]
    draw = family.sizes.picture
    goers = [
        Request(model=name, pictures=(draw("one", 90 + at),), max_tokens=1024, stream=True)
        for at, name in enumerate((*of_each_role(family), BASE))
    ]
    seen, left = leaving.burst(traffic, staying, goers, after=24)
    judge_scenario(check, context, f"{model}/client-leaves/{server}", seen, {"moved": 1})
    check.proves(
        left == len(goers),
        expected=f"{len(goers)} clients that left others behind",
        observed=left,
        reason="not every client left in the middle of the batch",
    )


@FREE
@pytest.mark.check(
    "states/{model}/rows-move/{server}",
    title="requests that finish in every order are answered as they are alone ({server})",
)
@pytest.mark.parametrize("server", ["free-slots"])
def test_rows_move(model: str, server: str, served: Served, check: Judge, context: Context) -> None:
    traffic, family = Traffic(served, check.tolerance), served.family
    four = (*of_each_role(family), BASE)
    seen = Seen()
    for lengths in permutations(LENGTHS[: len(four)]):
        seen += traffic.burst(
            [request_for(family, *pair) for pair in zip(four, (ONE,) * 4, lengths, strict=False)]
        )
        if seen.unexplained:
            break
    judge_scenario(check, context, f"{model}/rows-move/{server}", seen, {"moved": 8})


@ONE_SLOT
@pytest.mark.check(
    "states/{model}/waits-for-encoder/{server}",
    title="an adapter whose picture waits for the encoder keeps its slot ({server})",
)
@pytest.mark.parametrize("server", ["one-slot"])
def test_waits_for_encoder(
    model: str, server: str, served: Served, check: Judge, context: Context
) -> None:
    traffic, least = Traffic(served, check.tolerance), {"waited": 1}
    roles = of_each_role(served.family)
    bursts: list[Burst] = [
        (waiting.in_line(served, *pair), ()) for pair in pairwise((*roles, roles[0]))
    ]
    seen = until_met(traffic, bursts, least, in_line=True)
    judge_scenario(check, context, f"{model}/waits-for-encoder/{server}", seen, least)
