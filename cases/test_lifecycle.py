"""Life cycle: a name answers as the adapter that was loaded last under it, and as no other.

Questions are asked again on warm caches, since a cache that takes one adapter for another is what
is looked for. The truth is transformers with that adapter merged.
"""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mm_lora.adapters_bad import bad_copy
from mm_lora.asking import Picture
from mm_lora.judging import Judge
from mm_lora.lab import Lab
from mm_lora.lifecycle import answers_as, asked, broken_off, loaded, memory, own_copy, put, weight
from mm_lora.served import Served
from mm_lora.small_server import SMALL

ON_SERVER = pytest.mark.server(adapters=("vision-adapter",))
PAIRS = {
    "tower": ("tower-attention", "tower-mlp"),
    "connector": ("vision-adapter-fc1", "projector"),
    "language": ("language-v_proj", "language-o_proj"),
}
EVERY_PAIR = pytest.mark.parametrize("part", PAIRS)
LARGE = "peft-plain"
ROUNDS, WARM_UP = 200, 40


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/unload/gone", title="load, use, unload, use: a clear 404, the others stay"
)
@ON_SERVER
def test_unload(model: str, served: Served, check: Judge) -> None:
    loaded(check, served.load("guest", served.built("tower-attention")), "the adapter")
    check.equal(True, "guest" in served.listed, "it is not listed")
    twice = served.load("guest", served.built("tower-mlp"))
    check.claim(
        twice[0] == 400 and "already" in twice[1],
        expected="HTTP 400: the name is in use",
        observed=twice,
        reason="a name was loaded twice",
    )
    answers_as(served, check, "guest", "tower-attention")
    loaded(check, served.unload("guest"), "unloading")
    check.equal(False, "guest" in served.listed, "it is still listed")
    after = served.ask_again(asked("guest"))
    check.claim(
        after.status == 404 and "guest" in str(after.raw),
        expected="HTTP 404 with the name",
        observed=f"HTTP {after.status}: {after.raw}",
        reason="an unloaded adapter still answers, or not clearly",
    )
    again = served.unload("guest")
    check.claim(
        again[0] == 404 and "guest" in again[1],
        expected="HTTP 404 with the name",
        observed=again,
        reason="unloading what is not there",
    )
    answers_as(served, check, "vision-adapter", "vision-adapter")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/same-name/{part}",
    title="another adapter under the same name, same picture ({part})",
)
@ON_SERVER
@EVERY_PAIR
def test_same_name(model: str, part: str, served: Served, check: Judge) -> None:
    old, new = PAIRS[part]
    name = f"same-name-{part}"
    loaded(check, served.load(name, served.built(old)), old)
    try:
        answers_as(served, check, name, old)
        loaded(check, served.unload(name), "unloading")
        loaded(check, served.load(name, served.built(new)), new)
        answers_as(served, check, name, new, not_as=old)
    finally:
        served.unload(name)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/in-place/{part}",
    title="another adapter loaded in place, same picture ({part})",
)
@ON_SERVER
@EVERY_PAIR
def test_in_place(model: str, part: str, served: Served, check: Judge) -> None:
    old, new = PAIRS[part]
    name = f"in-place-{part}"
    loaded(check, served.load(name, served.built(old)), old)
    try:
        answers_as(served, check, name, old)
        loaded(check, served.load(name, served.built(new), in_place=True), new)
        answers_as(served, check, name, new, not_as=old)
    finally:
        served.unload(name)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/new-bytes/{part}-{how}",
    title="the same path with new bytes, {how}, same picture ({part})",
)
@ON_SERVER
@EVERY_PAIR
@pytest.mark.parametrize("how", ["reloaded", "in-place"])
def test_new_bytes(model: str, part: str, how: str, served: Served, check: Judge, lab: Lab) -> None:
    old, new = PAIRS[part]
    name = f"new-bytes-{part}-{how}"
    path = own_copy(lab, served, old, name)
    loaded(check, served.load(name, path), old)
    try:
        answers_as(served, check, name, old)
        put(served.built(new), path)
        if how == "reloaded":
            loaded(check, served.unload(name), "unloading")
        loaded(check, served.load(name, path, in_place=how == "in-place"), new)
        answers_as(served, check, name, new, not_as=old)
    finally:
        served.unload(name)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/in-place/loaded-once",
    title="what was loaded in place stays when its files change afterwards",
)
@ON_SERVER
def test_loaded_once(model: str, served: Served, check: Judge, lab: Lab) -> None:
    path = own_copy(lab, served, "tower-attention", "loaded-once")
    loaded(check, served.load("once", served.built("tower-mlp")), "the first")
    try:
        loaded(check, served.load("once", path, in_place=True), "the second")
        put(served.built("tower-mlp"), path)
        answers_as(served, check, "once", "tower-attention", not_as="tower-mlp", cold=True)
    finally:
        served.unload("once")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/in-place/refused",
    title="an adapter that is refused in place leaves the old one as it was",
)
@ON_SERVER
def test_refused_in_place(model: str, served: Served, check: Judge, lab: Lab) -> None:
    bad = lab.folder.path / "copies" / f"{served.spec.key}-refused"
    bad_copy(served.built("tower-attention"), bad, "shape-larger")
    loaded(check, served.load("kept", served.built("tower-mlp")), "the good one")
    try:
        status, said = served.load("kept", bad, in_place=True)
        check.claim(status != 200, expected="a refusal", observed=said, reason="it was accepted")
        # The first o_proj breaks the load off: q, k and v of that layer are in the slot by then.
        written = r"layers\.0\.self_attn\.[qkv]_proj"
        parts = broken_off(lab, served, "tower-mlp", "tower-attention", written)
        answers_as(served, check, "kept", "tower-mlp", parts=parts, cold=True)
    finally:
        served.unload("kept")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/meanwhile/{what}",
    title="while an adapter is answering: {what}",
)
@ON_SERVER
@pytest.mark.parametrize("what", ["others-come-and-go", "it-is-unloaded"])
def test_meanwhile(model: str, what: str, served: Served, check: Judge) -> None:
    """Long answers on several pictures; the loads must have happened between two of its tokens."""
    pictures = [Picture(width=336, height=336, seed=seed) for seed in range(1, 4)]
    requests = [asked("host", picture=picture, tokens=256) for picture in pictures]
    loaded(check, served.load("host", served.built("tower-attention")), "the host")
    alone = [served.ask_cold(request) for request in requests]
    served.client.reset_caches()
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=len(requests)) as threads:
        futures = [threads.submit(served.ask_again, request) for request in requests]
        time.sleep(0.5)
        before = all(not future.done() for future in futures)
        if what == "it-is-unloaded":
            loaded(check, served.unload("host"), "unloading")
            loaded(check, served.load("other", served.built("tower-mlp")), "another")
            served.unload("other")
        else:
            for name in ("tower-mlp", "projector", "language-v_proj"):
                loaded(check, served.load(f"beside-{name}", served.built(name)), name)
                served.unload(f"beside-{name}")
        after = all(not future.done() for future in futures)
        answers = [future.result() for future in futures]
    served.unload("host")
    check.proves(
        before and after,
        expected="loading while all of them were answering",
        observed=f"in flight before: {before}, after: {after}; {time.monotonic() - began:.2f} s",
        reason="the answers had ended before the others were loaded",
    )
    for request, lonely, answer in zip(requests, alone, answers, strict=True):
        check.equal([], answer.problems(request, lonely.prompt_tokens))
        check.equal(lonely.token_ids, answer.token_ids, "another answer than alone")
        check.unchanged(lonely.logprobs, answer.logprobs, tolerance=check.tolerance)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/rounds/memory", title=f"{ROUNDS} rounds of load, use and unload: no growth"
)
@ON_SERVER
def test_rounds(model: str, served: Served, check: Judge, lab: Lab) -> None:
    """Growth is half of what the tensors would take if each adapter stayed; noise is far less."""
    path = served.built(LARGE)
    seen = []
    for number in range(WARM_UP + ROUNDS):
        name = f"round-{number}"
        loaded(check, served.load(name, path), name)
        if number % 20 == 0:
            answer = served.ask_again(asked(name, tokens=1))
            check.equal(200, answer.status, f"round {number} gets no answer")
        loaded(check, served.unload(name), name)
        if number >= WARM_UP - 1:
            seen.append(memory(served))
    grown, allowed = seen[-1] - seen[0], ROUNDS * weight(path) // 2
    table = {
        "title": f"Memory of the server after {ROUNDS} rounds of load, use and unload",
        "columns": ["model", "grown, MiB", "allowed, MiB", "one adapter, KiB"],
        "rows": [],
    }
    lab.run.tables.setdefault("memory", table)["rows"].append(
        [model, f"{grown / 2**20:.1f}", f"{allowed / 2**20:.1f}", f"{weight(path) / 2**10:.0f}"]
    )
    check.claim(
        grown < allowed,
        expected=f"less than {allowed / 2**20:.0f} MiB more after {ROUNDS} rounds",
        observed=f"{grown / 2**20:.1f} MiB more",
        reason="memory grows with each load",
    )
    answers_as(served, check, "vision-adapter", "vision-adapter")


@pytest.mark.full
@pytest.mark.check("lifecycle/{model}/evicted/{what}", title="evicted and brought back: {what}")
@SMALL
@pytest.mark.parametrize("what", ["in-turn", "same-slot"])
def test_evicted(model: str, what: str, served: Served, check: Judge) -> None:
    """One slot, two in memory: with three adapters in turn each is read again from its files.

    `same-slot`: the small ones come right after the large one, into the slot that it leaves.
    """
    order = ("projector", "tower-mlp", "language-v_proj", "projector", "tower-mlp")
    if what == "same-slot":
        order = (LARGE, "projector", LARGE, "language-v_proj", LARGE, "tower-mlp")
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
    title="evicted while its files change: it comes back as it was loaded",
)
@SMALL
def test_files_changed(model: str, served: Served, check: Judge, lab: Lab) -> None:
    path = own_copy(lab, served, "tower-attention", "files-changed")
    try:
        loaded(check, served.load("changed", path), "the adapter")
        put(served.built("tower-mlp"), path)
        push_out(served, check)
        answers_as(served, check, "changed", "tower-attention", not_as="tower-mlp", cold=True)
    finally:
        served.unload("changed")


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/evicted/folder-removed",
    title="evicted and its folder removed: it answers, or its users get an error, no more",
)
@SMALL
def test_folder_removed(model: str, served: Served, check: Judge, lab: Lab) -> None:
    def prepare() -> None:
        path = own_copy(lab, served, "projector", "removed")
        loaded(check, served.load("removed", path), "the adapter")
        shutil.rmtree(path)
        push_out(served, check)

    prepare()
    request = asked("removed")
    answer = served.ask_after(request, prepare)
    if answer.status == 200:
        truth = served.forced(request, answer, truth="projector")
        check.agrees(truth.adapted, answer.logprobs, base=truth.base)
    served.unload("removed")
    answers_as(served, check, "vision-adapter", "vision-adapter")


def push_out(served: Served, check: Judge) -> None:
    """Two others take the two places in memory."""
    for other in ("projector", "language-v_proj"):
        loaded(check, served.load(f"pushes-{other}", served.built(other)), other)
        check.equal(200, served.ask_again(asked(f"pushes-{other}")).status)
        served.unload(f"pushes-{other}")
