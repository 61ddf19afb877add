"""Refusal: a bad adapter is applied or refused with a reason, and never harms other adapters.

Bad adapters come over HTTP, since one that vLLM refuses at its start would end the server.
"""

import json
import shutil
from pathlib import Path

import pytest

from mm_lora.adapters.bad import KINDS, bad_adapters, bad_copy, copy
from mm_lora.adapters.files import CONFIG, configure, read_config
from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.refusal import Offered, effect_of, judge_refused, offer, request_for, witnesses
from mm_lora.checks.roles import (
    Names,
    first_connector,
    first_tower,
    last_connector,
    unwrappable,
    unwrapped,
)
from mm_lora.checks.running import Served
from mm_lora.checks.small_server import SMALL
from mm_lora.families.family import Family

pytestmark = pytest.mark.truth("reference")
"""Whether the others are unharmed is judged against it."""

ON_SERVER = pytest.mark.server(adapters=first_connector)


def outside(family: Family) -> Names:
    """A group that the flags leave out."""
    return unwrapped(family)[:1]


def of_the_tower(family: Family) -> Names:
    return (*first_tower(family), *last_connector(family), "peft-plain")


TOWER_OFF = pytest.mark.server(
    adapters=("language-v_proj",), flags={"enable-tower-connector-lora": False}
)
POISON = ("nan", "infinity")
NOT_APPLIED = r"not be applied|no module of that name|target"


def on_its_server(kind: str) -> object:
    """What may poison a server for good stays off the one that others share."""
    return pytest.param(kind, marks=SMALL if kind in POISON else ON_SERVER)


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/{kind}", title="a bad adapter ({kind}) is applied or refused, never ignored"
)
@pytest.mark.parametrize("kind", [on_its_server(kind) for kind in KINDS if kind != "overflow"])
def test_bad(model: str, kind: str, served: Served, check: Judge, context: Context) -> None:
    witnesses(served)
    name = f"bad-{kind}"
    good = served.family.good
    bad, target = bad_adapters(good)[kind], context.folder.path / "bad" / f"{model}-{kind}"
    path = bad_copy(served.built(good.adapter), target, kind, good)
    offered = offer(served, check, name, path)
    judge_refused(context, served, check, name, bad.what, offered, bad.says)
    if not bad.says:
        check.claim(
            offered.answer is not None, expected="applied", observed=offered.seen, reason="refused"
        )
        assert offered.answer is not None
        truth = served.forced(
            request_for(served, name), offered.answer, truth=served.family.good.adapter
        )
        check.agrees(
            truth.adapted, offered.answer.logprobs, base=truth.base, elsewhere=truth.mistaken
        )


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/overflow",
    title="an adapter whose answers are not finite gives an error to its own users only",
)
@SMALL
def test_overflow(model: str, served: Served, check: Judge, context: Context) -> None:
    """Nothing is wrong with its values: it may be applied, and then only its own users may see."""
    witnesses(served)
    good = served.family.good
    bad = bad_adapters(good)["overflow"]
    target = context.folder.path / "bad" / f"{model}-overflow"
    path = bad_copy(served.built(good.adapter), target, "overflow", good)
    offered = offer(served, check, "bad-overflow", path)
    judge_refused(context, served, check, "bad-overflow", bad.what, offered, bad.says)
    status = offered.answer.status if offered.answer else offered.status
    check.claim(
        status >= 400, expected="an error", observed=offered.seen, reason="an answer of NaN"
    )


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/no-such-folder", title="an adapter folder that does not exist is refused"
)
@ON_SERVER
def test_no_such_folder(model: str, served: Served, check: Judge, context: Context) -> None:
    witnesses(served)
    offered = offer(served, check, "nowhere", Path("/nowhere/adapter"))
    judge_refused(
        context, served, check, "nowhere", "no such folder", offered, "(?i)no adapter found"
    )


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/name-of-the-base", title="an adapter with the base's name is refused"
)
@ON_SERVER
def test_name_of_the_base(model: str, served: Served, check: Judge, context: Context) -> None:
    witnesses(served)
    status, said = served.load(served.base, served.built(served.family.good.adapter))
    offered = Offered(status, said)
    judge_refused(context, served, check, served.base, "the base's name", offered, "base model")


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/outside-target-modules",
    title="an adapter on modules that --lora-target-modules leaves out is refused",
)
@ON_SERVER
@pytest.mark.each("group", outside)
def test_outside_targets(
    model: str, group: str, served: Served, check: Judge, context: Context
) -> None:
    witnesses(served)
    offered = offer(served, check, "outside", served.built(group))
    what = f"{group}, left out by --lora-target-modules"
    judge_refused(context, served, check, "outside", what, offered, NOT_APPLIED)


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/no-lora-layer/{group}",
    title="an adapter on {group} alone, for which vLLM has no LoRA layer: refused",
)
@ON_SERVER
@pytest.mark.each("group", unwrappable)
def test_no_lora_layer(
    model: str, group: str, served: Served, check: Judge, context: Context
) -> None:
    witnesses(served)
    offered = offer(served, check, f"only-{group}", served.built(group))
    judge_refused(context, served, check, f"only-{group}", f"{group} alone", offered, NOT_APPLIED)


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/tower-flag-off/{adapter}",
    title="{adapter} is refused without --enable-tower-connector-lora",
)
@TOWER_OFF
@pytest.mark.each("adapter", of_the_tower)
def test_tower_flag_off(
    model: str, adapter: str, served: Served, check: Judge, context: Context
) -> None:
    witnesses(served)
    name = f"off-{adapter}"
    offered = offer(served, check, name, served.built(adapter))
    what = f"{adapter} without --enable-tower-connector-lora"
    judge_refused(context, served, check, name, what, offered, NOT_APPLIED)


@pytest.mark.full
@pytest.mark.check(
    "refusal/{model}/resolver/{place}",
    title="the filesystem resolver loads adapters from its own folder only ({place})",
)
@SMALL
@pytest.mark.parametrize("place", ["inside", "parent", "absolute", "no-peft-type"])
def test_resolver(model: str, place: str, served: Served, check: Judge, context: Context) -> None:
    """A name in a request is looked up in one folder; nothing beside it may be reached."""
    witnesses(served)
    server = served.folder
    target = server / ("resolver" if place in ("inside", "no-peft-type") else "beside") / place
    copy(served.built(served.family.good.adapter), target)
    configure(target, base_model_name_or_path=str(context.checkpoint(model)))
    if place == "no-peft-type":
        left = {key: value for key, value in read_config(target).items() if key != "peft_type"}
        (target / CONFIG).write_text(json.dumps(left), encoding="utf-8")
    name = {"parent": "../beside/parent", "absolute": str(target)}.get(place, place)
    answer = served.ask_cold(request_for(served, name))
    effect = effect_of(served, check, answer) if answer.status == 200 else ""
    offered = Offered(answer.status, str((answer.raw or {}).get("error", "")), effect, answer)
    shutil.rmtree(target)  # or it would be found again
    served.unload(name)
    says = "" if place == "inside" else "(?i)not exist|not found|peft_type"
    judge_refused(context, served, check, name, f"resolver: {place}", offered, says)
    if place == "inside":
        check.equal([], answer.problems(request_for(served, name), None))
        truth = served.forced(request_for(served, name), answer, truth=served.family.good.adapter)
        check.agrees(truth.adapted, answer.logprobs, base=truth.base, elsewhere=truth.mistaken)
