"""Life cycle: a name answers only as the adapter that was loaded last under it.

Questions are asked again on warm caches, since a cache that takes one adapter for another is what
is looked for. The truth is transformers with that adapter merged.
"""

import pytest

from mm_lora.adapters.bad import bad_copy
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.lifecycle import (
    answers_as,
    broken_off,
    guest,
    loaded,
    own_copy,
    put,
    request_for,
)
from mm_lora.checks.roles import first_connector, pair, roles
from mm_lora.checks.running import Served
from mm_lora.families.modules import TOWER

ON_SERVER = pytest.mark.server(adapters=first_connector)
EVERY_PAIR = pytest.mark.each("part", roles)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/unload/gone",
    title="an unloaded adapter answers with a clear 404, and the others keep working",
)
@ON_SERVER
def test_unload(model: str, served: Served, check: Judge) -> None:
    one, other = pair(served.family, TOWER)
    with guest(served, "guest"):
        loaded(check, served.load("guest", served.built(one)), "the adapter")
        check.equal(True, "guest" in served.listed, "it is not listed")
        twice = served.load("guest", served.built(other))
        check.claim(
            twice[0] == 400 and "already" in twice[1],
            expected="HTTP 400: the name is in use",
            observed=twice,
            reason="a name was loaded twice",
        )
        answers_as(served, check, "guest", one)
        loaded(check, served.unload("guest"), "unloading")
        check.equal(False, "guest" in served.listed, "it is still listed")
        after = served.ask_again(request_for(served, "guest"))
        check.claim(
            after.status == 404 and "guest" in str(after.raw),
            expected="HTTP 404 with the name",
            observed=f"HTTP {after.status}: {after.raw}",
            reason="an unloaded adapter still answers, or the error is not clear",
        )
        again = served.unload("guest")
        check.claim(
            again[0] == 404 and "guest" in again[1],
            expected="HTTP 404 with the name",
            observed=again,
            reason="unloading an adapter that is not loaded",
        )
    if served.context.has_reference:
        (resident,) = first_connector(served.family)
        answers_as(served, check, resident, resident)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/{how}/{part}",
    title="a name that gets another adapter answers with the new one ({part}, {how}, same picture)",
)
@ON_SERVER
@EVERY_PAIR
@pytest.mark.parametrize("how", ["same-name", "in-place"])
def test_replaced(model: str, how: str, part: str, served: Served, check: Judge) -> None:
    """`same-name`: the old one is unloaded first; `in-place`: it is not."""
    old, new = pair(served.family, part)
    name = f"{how}-{part}"
    with guest(served, name):
        loaded(check, served.load(name, served.built(old)), old)
        answers_as(served, check, name, old)
        if how == "same-name":
            loaded(check, served.unload(name), "unloading")
        loaded(check, served.load(name, served.built(new), in_place=how == "in-place"), new)
        answers_as(served, check, name, new, not_as=old)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/new-bytes/{part}-{how}",
    title="new files under the same path take effect ({part} adapter, {how}, same picture)",
)
@ON_SERVER
@EVERY_PAIR
@pytest.mark.parametrize("how", ["reloaded", "in-place"])
def test_new_bytes(
    model: str, part: str, how: str, served: Served, check: Judge, context: Context
) -> None:
    old, new = pair(served.family, part)
    name = f"new-bytes-{part}-{how}"
    path = own_copy(context, served, old, name)
    with guest(served, name):
        loaded(check, served.load(name, path), old)
        answers_as(served, check, name, old)
        put(served.built(new), path)
        if how == "reloaded":
            loaded(check, served.unload(name), "unloading")
        loaded(check, served.load(name, path, in_place=how == "in-place"), new)
        answers_as(served, check, name, new, not_as=old)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/in-place/loaded-once",
    title="an adapter loaded in place stays the same when its files change later",
)
@ON_SERVER
def test_loaded_once(model: str, served: Served, check: Judge, context: Context) -> None:
    one, other = pair(served.family, TOWER)
    path = own_copy(context, served, one, "loaded-once")
    with guest(served, "once"):
        loaded(check, served.load("once", served.built(other)), "the first")
        loaded(check, served.load("once", path, in_place=True), "the second")
        put(served.built(other), path)
        answers_as(served, check, "once", one, not_as=other, cold=True)


@pytest.mark.full
@pytest.mark.check(
    "lifecycle/{model}/in-place/refused",
    title="an adapter that is refused in place leaves the old one unchanged",
)
@ON_SERVER
def test_refused_in_place(model: str, served: Served, check: Judge, context: Context) -> None:
    bad = context.folder.path / "copies" / f"{served.spec.key}-refused"
    good = served.family.good
    _, kept = pair(served.family, TOWER)
    bad_copy(served.built(good.adapter), bad, "shape-larger", good)
    with guest(served, "kept"):
        loaded(check, served.load("kept", served.built(kept)), "the good one")
        status, said = served.load("kept", bad, in_place=True)
        check.claim(status != 200, expected="a refusal", observed=said, reason="it was accepted")
        # The first plain layer breaks the load off: the packed one before it is in the slot then.
        written = rf"layers\.0\.{good.parent}\.(?!{good.plain})"
        parts = broken_off(context, served, kept, good.adapter, written)
        answers_as(served, check, "kept", kept, parts=parts, cold=True)
