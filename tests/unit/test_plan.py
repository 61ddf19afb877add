"""The plan of a run: what its servers load, and which switches fit to it."""

import pytest

from mm_lora.errors import UsageError
from mm_lora.options import RunOptions
from mm_lora.plan import Planned, Wish, make_plan, max_lora_rank
from mm_lora.profiles import load

CPU = load("cpu")


def planned(name: str, model: str, *adapters: str) -> Planned:
    return Planned(id=name, title="", core=True, wish=Wish(model=model, adapters=adapters))


def test_equal_wishes_share_a_server_with_the_adapters_of_both() -> None:
    checks = [planned("x", "scout", "all"), planned("y", "scout", "mine")]
    (spec,) = make_plan(checks, CPU, RunOptions()).specs
    assert spec.adapters == ("all", "mine")
    assert spec.flag("max-loras") == "3"


def test_a_port_is_for_one_server() -> None:
    options = RunOptions(settings={"port": "8000"})
    make_plan([planned("x", "scout")], CPU, options)
    with pytest.raises(UsageError, match="these checks need 2"):
        make_plan([planned("x", "scout"), planned("y", "maverick")], CPU, options)


def test_mutants_are_patches_of_every_server() -> None:
    options = RunOptions(settings={"mutant": "mutant-forget-cls,mutant-chunk-lost"})
    (spec,) = make_plan([planned("x", "scout")], CPU, options).specs
    assert spec.patches == ("auto", "mutant-forget-cls", "mutant-chunk-lost")


def test_largest_rank() -> None:
    assert max_lora_rank(CPU) == 8
