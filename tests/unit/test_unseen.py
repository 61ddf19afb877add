"""The mistakes that a run's checks could not have seen."""

import pytest

from mm_lora.checks.unseen import families_of, unseen
from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check
from mm_lora.inside.registry import Patch, mutant

POINT = {"vllm.x:f": lambda original: original}
PATCHES: list[Patch] = [
    mutant("late", POINT, "w", kills=("states/*/long-answer/*",)),
    mutant("kept", POINT, "w", kills=("lifecycle/*/same-name/*", "dice/*/*/effect")),
    mutant("cls", POINT, "w", kills=("arithmetic/*/rows/one-*",), families=("llama4",)),
    mutant("merge", POINT, "w", kills=("arithmetic/*/rows/one-*",), families=("qwen2.5-vl",)),
]


def check(check_id: str, outcome: Outcome = Outcome.PASS) -> Check:
    return Check(id=check_id, title="t", group=check_id.partition("/")[0], outcome=outcome)


def test_what_the_core_leaves_out_is_said_by_group() -> None:
    checks = [check("dice/scout/projector/effect"), check("arithmetic/scout/rows/one-chunk")]
    (said,) = unseen(checks, {"llama4"}, "0.32.0", PATCHES)
    assert said.startswith("mistakes like 1 of 3 mutants")
    assert "(states 1)" in said
    assert not unseen([*checks, check("states/scout/long-answer/x")], {"llama4"}, "0.32.0", PATCHES)


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.PASS])
def test_only_a_check_that_passed_could_have_failed(outcome: Outcome) -> None:
    checks = [check("states/scout/long-answer/x", outcome)]
    assert "4 of 4" in unseen(checks, {"llama4", "qwen2.5-vl"}, "0.32.0", PATCHES)[0]


def test_mutants_of_other_versions_do_not_count() -> None:
    newer = mutant("new", POINT, "w", kills=("states/*/beams/*",), versions=">=0.28")
    assert "1 of 1" in unseen([], {"llama4"}, "0.32.0+cpu", [newer])[0]
    assert "1 of 1" in unseen([], {"llama4"}, "", [newer])[0], "a version that is not known"
    assert not unseen([], {"llama4"}, "0.17.0", [newer])


def test_families_by_the_models_that_checks_name() -> None:
    assert families_of([check("dice/maverick/x/y"), check("dice/mine/x/y")]) == {"llama4"}
