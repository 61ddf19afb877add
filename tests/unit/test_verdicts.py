"""Judging, selecting and settling known defects: the pure decisions that a report rests on."""

import math
from dataclasses import replace

import pytest

from mm_lora.checks import defects
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.core.outcomes import Outcome, Verdict, exit_code, judge_close, judge_shown
from mm_lora.core.selection import select
from mm_lora.run.settings import settings_of

IDS = ["dice/scout/base/picture", "dice/scout/all/effect", "arithmetic/scout/rows/vllm-class"]


def test_close_answers_pass_and_far_ones_fail() -> None:
    assert judge_close([-1.0], [-1.0005], tolerance=1e-3).outcome is Outcome.PASS
    assert judge_close([-1.0], [-1.002], tolerance=1e-3).outcome is Outcome.FAIL


def test_what_never_happened_proves_nothing() -> None:
    for holds, outcome in ((True, Outcome.PASS), (False, Outcome.VOID)):
        assert judge_shown(holds, expected=1, observed=2, reason="").outcome is outcome


@pytest.mark.parametrize("bad", [[math.nan], [math.inf], [], [-1.0, -2.0]])
def test_nothing_odd_passes(bad: list[float]) -> None:
    assert judge_close([-1.0], bad, tolerance=1e-3).outcome is Outcome.FAIL


def test_agreement_without_an_effect_is_void() -> None:
    verdict = judge_close([-1.0], [-1.0], tolerance=1e-3, base=[-1.01], min_effect=0.05)
    assert verdict.outcome is Outcome.VOID


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([Outcome.PASS], ExitCode.PASS),
        ([Outcome.PASS, Outcome.FAIL, Outcome.ERROR], ExitCode.FAIL),
        ([Outcome.PASS, Outcome.VOID], ExitCode.ERROR),
        ([Outcome.SKIP], ExitCode.EMPTY),
        ([], ExitCode.EMPTY),
        ([Outcome.PASS, Outcome.KNOWN_DEFECT], ExitCode.PASS),
    ],
)
def test_exit_codes(outcomes: list[Outcome], code: ExitCode) -> None:
    assert exit_code(outcomes) is code


def test_strict_and_stale_fail() -> None:
    assert exit_code([Outcome.KNOWN_DEFECT], strict=True) is ExitCode.FAIL
    assert exit_code([Outcome.PASS], stale=True) is ExitCode.FAIL


def test_selection_crosses_slashes_and_refuses_typos() -> None:
    assert select(IDS, IDS, ["dice*"], ["*effect"]) == [IDS[0]]
    with pytest.raises(UsageError, match="matches no check"):
        select(IDS, IDS, ["dise*"], ())


def test_only_the_predicted_wrong_value_is_excused() -> None:
    entries = defects.load()
    hit = Verdict(outcome=Outcome.FAIL, predicted_by=("language-qk-rows-not-permuted",))
    miss = Verdict(outcome=Outcome.FAIL)
    passed = Verdict(outcome=Outcome.PASS)
    check = "dice/scout/all/effect"
    judged = defects.with_known_defects
    assert judged(hit, check, "0.32.0", "cpu", entries)[0] is Outcome.KNOWN_DEFECT
    assert judged(miss, check, "0.32.0", "cpu", entries)[0] is Outcome.FAIL
    assert judged(hit, check, "0.28.0", "cpu", entries)[0] is Outcome.KNOWN_DEFECT
    assert judged(hit, check, "0.31.0", "cpu", entries)[0] is Outcome.FAIL
    assert judged(hit, IDS[0], "0.32.0", "cpu", entries)[0] is Outcome.FAIL
    assert judged(passed, check, "0.32.0", "cpu", entries)[0] is Outcome.FIXED_UPSTREAM


def test_a_defect_of_another_platform_excuses_nothing() -> None:
    hit = Verdict(outcome=Outcome.FAIL, predicted_by=("language-qk-rows-not-permuted",))
    entries = [replace(entry, platform="gpu") for entry in defects.load()]
    check = "dice/scout/all/effect"
    judged = defects.with_known_defects
    assert judged(hit, check, "0.32.0", "gpu", entries)[0] is Outcome.KNOWN_DEFECT
    assert judged(hit, check, "0.32.0", "cpu", entries)[0] is Outcome.FAIL


def test_a_claim_that_proves_nothing_is_excused_by_its_text_alone() -> None:
    (entry,) = (one for one in defects.load() if one.id == "ultravox-tower-mlp-unheld")
    check, nothing = "isolation/ultravox/mixed-batch/free-slots", "the effect 0 is below 0.05"
    for reason, outcome in (
        (f"{nothing}: nothing is proved", Outcome.KNOWN_DEFECT),
        ("requests never met", Outcome.VOID),
    ):
        verdict = Verdict(outcome=Outcome.VOID, reason=reason, observed="the same 9 answers")
        assert defects.with_known_defects(verdict, check, "0.32.0", "cpu", [entry])[0] is outcome


def test_a_check_that_was_not_asked_stays_an_error() -> None:
    (entry,) = (one for one in defects.load() if one.id == "llama4-patch-embedding-dies")
    died = "einsum(): subscript b has size 577 for operand 1 but previously seen size 576"
    check = "coverage/scout/patch-embedding/effect"
    assert entry.may_end_server(check, "cpu")
    assert not entry.may_end_server(check, "gpu")
    assert not entry.may_end_server("dice/scout/base/picture", "cpu")
    verdict = Verdict(outcome=Outcome.ERROR, reason="not-asked: the server died", observed=died)
    seen, _ = defects.with_known_defects(verdict, check, "0.32.0", "cpu", [entry])
    assert seen is Outcome.ERROR


def test_a_defect_that_depends_on_chance_is_stale_only_by_its_smallest_check() -> None:
    (entry,) = (one for one in defects.load() if one.id == "cpu-base-rows-last-slot")
    assert entry.by_chance
    passed = Verdict(outcome=Outcome.PASS)
    hit = Verdict(outcome=Outcome.FAIL, predicted_by=(entry.signature,))
    often, smallest = "isolation/scout/in-flight/4-one-slot", entry.smallest.format(model="scout")

    def outcome(verdict: Verdict, check: str) -> Outcome:
        return defects.with_known_defects(verdict, check, "0.32.0", "cpu", [entry])[0]

    assert outcome(passed, often) is Outcome.PASS
    assert outcome(passed, smallest) is Outcome.FIXED_UPSTREAM
    assert outcome(hit, often) is outcome(hit, smallest) is Outcome.KNOWN_DEFECT
    assert outcome(hit, "isolation/scout/mixed-batch/free-slots") is Outcome.FAIL


@pytest.mark.parametrize(
    "word",
    [
        "break=all:sideways",
        "break=all",
        "port=x",
        "port=0",
        "port=65536",
        "start=quick",
        "mutant=",
        "mutant=mutant-none",
        "mutant=mutant-none@dice/*",
        "mutant=cpu-moe-experts",
        "typo=1",
    ],
)
def test_a_wrong_setting_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        settings_of([word])
