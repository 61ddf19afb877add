"""The plan: as few servers as there are different wishes."""

import pytest

from mm_lora.core.errors import UsageError
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Plan, Planned, Wish, make_plan, max_lora_rank
from mm_lora.run.profiles import Profile, load
from mm_lora.run.settings import Settings, settings_of


def plan(
    *wishes: Wish | None,
    eager: bool = True,
    last: tuple[str, ...] = (),
    deadly: tuple[str, ...] = (),
) -> Plan:
    profile = Profile(
        name="p",
        model="scout",
        dtype="float32",
        tolerance=1e-3,
        min_effect=0.05,
        flags={"enforce-eager": eager},
    )
    checks = [
        Planned(
            id=str(n), title="", core=True, wish=w, last=str(n) in last, deadly=str(n) in deadly
        )
        for n, w in enumerate(wishes)
    ]
    return make_plan(checks, profile, RunOptions())


def wish(*adapters: str, probe: bool = False, model: str = "scout", **flags: str) -> Wish:
    return Wish(model=model, adapters=adapters, probe=probe, flags=tuple(flags.items()))


def test_equal_wishes_share_one_server_with_all_their_adapters() -> None:
    made = plan(wish("a", "b"), wish("b", "c"))
    (spec,) = made.specs
    assert spec.adapters == ("a", "b", "c")
    assert spec.flag("max-loras") == "4"


def test_server_less_checks_come_first_then_server_by_server() -> None:
    made = plan(wish(), wish(model="maverick"), None, wish())
    assert [check.id for check in made.checks] == ["2", "0", "3", "1"]
    assert made.server_of("2") is None


def test_a_last_check_is_behind_all_others_of_its_server() -> None:
    made = plan(wish(), wish(), wish(model="maverick"), last=("0", "2"))
    assert [check.id for check in made.checks] == ["1", "0", "2"]


def test_what_ends_a_server_is_behind_even_the_last() -> None:
    made = plan(wish(), wish(), wish(), wish(model="maverick"), last=("1",), deadly=("0",))
    assert [check.id for check in made.checks] == ["2", "1", "0", "3"]


@pytest.mark.parametrize(("eager", "servers"), [(True, 1), (False, 2)])
def test_a_probe_is_shared_only_where_layers_run_eagerly(eager: bool, servers: int) -> None:
    made = plan(wish(), wish(probe=True), eager=eager)
    assert len(made.specs) == servers
    probed = made.servers["1"]
    assert probed.probe
    assert probed.has_flag("enforce-eager")
    assert made.servers["0"].has_flag("enforce-eager") is eager


def test_another_flag_is_another_server() -> None:
    assert len(plan(wish(), wish(flag="1")).specs) == 2


CPU = load("cpu")


def planned(name: str, model: str, *adapters: str) -> Planned:
    return Planned(id=name, title="", core=True, wish=Wish(model=model, adapters=adapters))


def test_a_port_is_for_one_server() -> None:
    options = RunOptions(settings=Settings(port=8000))
    make_plan([planned("x", "scout")], CPU, options)
    with pytest.raises(UsageError, match="these checks need 2"):
        make_plan([planned("x", "scout"), planned("y", "maverick")], CPU, options)


def test_mutants_are_patches_of_every_server() -> None:
    mutants = ("mutant-forget-cls", "mutant-chunk-lost")
    options = RunOptions(settings=Settings(mutant=mutants))
    (spec,) = make_plan([planned("x", "scout")], CPU, options).specs
    assert spec.patches == ("auto", "mutant-forget-cls", "mutant-chunk-lost")


def test_mutants_in_turn_share_a_server_and_a_label() -> None:
    words = ("mutant-forget-cls@a/*", "mutant-chunk-lost@b/c", "mutant-forget-cls@b/d")
    options = RunOptions(settings=settings_of([f"mutant={','.join(words)}"]))
    (spec,) = make_plan([planned("x", "scout")], CPU, options).specs
    assert spec.patches == ("auto", *words)
    assert spec.label.endswith(" adapters, 2 in turn")


def test_largest_rank() -> None:
    assert max_lora_rank(CPU) == 8
