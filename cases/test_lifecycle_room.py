"""Life cycle: adapters come and go while others answer, and make room for each other."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mm_lora.adapters.sets import ALL
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.lifecycle import answers_as, loaded, memory, own_copy, put, request_for, weight
from mm_lora.checks.roles import first_connector, last_connector, pair, towers
from mm_lora.checks.running import Served
from mm_lora.checks.small_server import SMALL
from mm_lora.core.table import Column, Kind
from mm_lora.families.family import Family
from mm_lora.families.modules import TOWER

ON_SERVER = pytest.mark.server(adapters=first_connector)
TRUTH = pytest.mark.truth("reference")
LARGE = "peft-plain"
ROUNDS, WARM_UP = 200, 40

LENGTHS = (256, 512, 1024)
"""Tokens of an answer; longer where loading took longer than the answer."""


def guests(family: Family) -> tuple[str, str, str]:
    """One adapter of the tower, of the connector and of the language model."""
    return towers(family)[-1], *last_connector(family), "language-v_proj"


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/meanwhile/{what}",
    title="an adapter's answer stays the same while adapters are loaded and unloaded ({what})",
)
@ON_SERVER
@pytest.mark.parametrize("what", ["others-come-and-go", "it-is-unloaded"])
def test_meanwhile(model: str, what: str, served: Served, check: Judge) -> None:
    """Long answers on several pictures; the loads must have happened between two of its tokens.

    The host has a language model part: a vision adapter's work is done before the first token.
    """
    pictures = [served.family.sizes.picture("one", seed) for seed in range(1, 4)]
    for tokens in LENGTHS:
        requests = [
            request_for(served, "host", picture=picture, tokens=tokens) for picture in pictures
        ]
        loaded(check, served.load("host", served.built(ALL)), "the host")
        alone = [served.ask_cold(request) for request in requests]
        served.client.reset_caches()
        with ThreadPoolExecutor(max_workers=len(requests)) as threads:
            futures = [threads.submit(served.ask_again, request) for request in requests]
            time.sleep(0.5)
            in_flight = [sum(not future.done() for future in futures)]
            come_and_go(served, check, what)
            in_flight.append(sum(not future.done() for future in futures))
            answers = [future.result() for future in futures]
        served.unload("host")
        if in_flight == [len(requests)] * 2:
            break
    check.proves(
        in_flight == [len(requests)] * 2,
        expected=f"{len(requests)} answers being made before the loading and after it",
        observed=in_flight,
        reason=f"answers of {tokens} tokens had ended before the others were loaded",
    )
    for request, lonely, answer in zip(requests, alone, answers, strict=True):
        check.equal([], answer.problems(request, lonely.prompt_tokens))
        check.equal(lonely.token_ids, answer.token_ids, "another answer than alone")
        check.unchanged(lonely.logprobs, answer.logprobs, tolerance=check.tolerance)


def come_and_go(served: Served, check: Judge, what: str) -> None:
    """What happens while the host answers."""
    if what == "it-is-unloaded":
        loaded(check, served.unload("host"), "unloading")
        loaded(check, served.load("other", served.built(towers(served.family)[-1])), "another")
        served.unload("other")
        return
    for name in guests(served.family):
        loaded(check, served.load(f"beside-{name}", served.built(name)), name)
        served.unload(f"beside-{name}")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/rounds/memory",
    title=f"memory does not grow over {ROUNDS} rounds of load, use and unload",
)
@ON_SERVER
def test_rounds(model: str, served: Served, check: Judge, context: Context) -> None:
    """Growth is half of what the tensors would take if each adapter stayed; noise is far less."""
    path = served.built(LARGE)
    seen = []
    for number in range(WARM_UP + ROUNDS):
        name = f"round-{number}"
        loaded(check, served.load(name, path), name)
        if number % 20 == 0:
            answer = served.ask_again(request_for(served, name, tokens=1))
            check.equal(200, answer.status, f"round {number} gets no answer")
        loaded(check, served.unload(name), name)
        if number >= WARM_UP - 1:
            seen.append(memory(served))
    grown, allowed = seen[-1] - seen[0], ROUNDS * weight(path) // 2
    title = f"Memory of the server after {ROUNDS} rounds of load, use and unload"
    sizes = (Column(name, Kind.BYTES) for name in ("grown", "allowed", "one adapter"))
    context.table("memory", title, ["model", *sizes]).add(model, grown, allowed, weight(path))
    check.claim(
        grown < allowed,
        expected=f"less than {allowed / 2**20:.0f} MiB more after {ROUNDS} rounds",
        observed=f"{grown / 2**20:.1f} MiB more",
        reason="memory grows with each load",
    )
    if context.has_reference:
        (resident,) = first_connector(served.family)
        answers_as(served, check, resident, resident)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/evicted/{what}", title="an evicted adapter comes back unchanged ({what})"
)
@SMALL
@TRUTH
@pytest.mark.parametrize("what", ["in-turn", "same-slot"])
def test_evicted(model: str, what: str, served: Served, check: Judge) -> None:
    """One slot, two in memory: with three adapters in turn each is read again from its files.

    `same-slot`: the small ones come right after the large one, into the slot that it leaves.
    """
    tower, connector, language = guests(served.family)
    order: tuple[str, ...] = (connector, tower, language, connector, tower)
    if what == "same-slot":
        order = (LARGE, connector, LARGE, language, LARGE, tower)
    names = dict.fromkeys(order)
    try:
        for name in names:
            loaded(check, served.load(f"e-{name}", served.built(name)), name)
        for name in order:
            answers_as(served, check, f"e-{name}", name, cold=True)
    finally:
        for name in names:
            served.unload(f"e-{name}")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/evicted/files-changed",
    title="an adapter whose files change while it is evicted comes back as it was loaded",
)
@SMALL
@TRUTH
def test_files_changed(model: str, served: Served, check: Judge, context: Context) -> None:
    one, other = pair(served.family, TOWER)
    path = own_copy(context, served, one, "files-changed")
    try:
        loaded(check, served.load("changed", path), "the adapter")
        put(served.built(other), path)
        push_out(served, check)
        answers_as(served, check, "changed", one, not_as=other, cold=True)
    finally:
        served.unload("changed")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/evicted/folder-removed",
    title="an evicted adapter whose folder is removed harms no other tenant",
)
@SMALL
@TRUTH
def test_folder_removed(model: str, served: Served, check: Judge, context: Context) -> None:
    (gone,) = last_connector(served.family)

    def prepare() -> None:
        path = own_copy(context, served, gone, "removed")
        loaded(check, served.load("removed", path), "the adapter")
        shutil.rmtree(path)
        push_out(served, check)

    prepare()
    request = request_for(served, "removed")
    answer = served.ask_after(request, prepare)
    if answer.status == 200:
        truth = served.forced(request, answer, truth=gone)
        check.agrees(truth.adapted, answer.logprobs, base=truth.base, elsewhere=truth.mistaken)
    served.unload("removed")
    (resident,) = first_connector(served.family)
    answers_as(served, check, resident, resident)


def push_out(served: Served, check: Judge) -> None:
    """Two others take the two places in memory."""
    for other in guests(served.family)[1:]:
        loaded(check, served.load(f"pushes-{other}", served.built(other)), other)
        check.equal(200, served.ask_again(request_for(served, f"pushes-{other}")).status)
        served.unload(f"pushes-{other}")
