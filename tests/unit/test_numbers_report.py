"""What the report makes of the numbers: dot plot, defect entries, the table's worst answers."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from mm_lora.checks.defects import Defect
from mm_lora.checks.judging import Judge
from mm_lora.checks.numerics_table import add_row
from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import NotPassed, Outcome, moved
from mm_lora.core.record import Check
from mm_lora.core.table import Tables
from mm_lora.report import defect_entries
from mm_lora.report.pictures.dots import dot_plot
from mm_lora.truth.reference import Forced


def check(identity: str, **fields: Any) -> Check:
    given = {"outcome": Outcome.PASS, "error": 1e-6, "tolerance": 1e-3, "effect": 1.0, **fields}
    return Check(id=identity, title="t", group=identity.split("/")[0], **given)


def test_agreement_and_error_are_both_readable_on_the_plot() -> None:
    plot = dot_plot(
        [check("numerics/scout/a/x"), check("numerics/scout/b/x", error=0.1, effect=None)]
    )
    assert plot is not None
    (agrees,), (errs,) = (row.dots for row in plot.rows)
    assert agrees.effect is not None
    assert agrees.effect > errs.error > agrees.error + 20
    assert plot.rows[0].tolerance < errs.error


def test_what_is_not_finite_sits_on_the_plots_end() -> None:
    plot = dot_plot([check("numerics/scout/a/x", error=math.inf, effect=None)])
    assert plot is not None
    assert plot.rows[0].dots[0].error == 100


def test_no_numbers_no_plot() -> None:
    assert dot_plot([check("dice/scout/a/x")]) is None


DEFECT = Defect(
    id="d",
    versions="",
    platform="any",
    checks=("*",),
    symptom="wrong-value",
    signature="s",
    expected="e",
    observed="o",
    cause="c",
    upstream=(),
    searched="2026-11-23",
    fix="f",
    smallest="numerics/{model}/k/text-only",
)


def test_a_defect_is_told_once_with_its_smallest_case() -> None:
    met = {"outcome": Outcome.KNOWN_DEFECT, "defect": "d"}
    checks = [check(f"numerics/scout/{name}", **met) for name in ("all/x", "k/text-only")]
    (entry,) = defect_entries.entries([*checks, check("dice/scout/a/x")], [DEFECT])
    assert entry.met_by == 2
    assert entry.smallest.id == "numerics/scout/k/text-only"


def test_a_defect_that_no_check_met_is_not_told() -> None:
    assert defect_entries.entries([check("numerics/scout/k/text-only")], [DEFECT]) == []


def test_how_far_two_distributions_are_apart() -> None:
    assert moved({"a": -1.0, "b": -2.0}, {"a": -1.5, "c": -2.0}) == 0.5
    assert moved({"a": -1.0, "b": -2.0}, {"a": -1.01, "c": -0.5}) == 1.5, "c was -2 at most"
    assert moved({"a": -1.0, "b": -2.0}, {"a": -1.0}) == 0.0, "a shorter list says less"
    assert moved({"a": -1.0}, {"b": -1.0}) == math.inf


def judge() -> Judge:
    return Judge(tolerance=1e-3, min_effect=0.05)


def test_the_other_side_of_a_routing_tie_is_right_too() -> None:
    taken = judge()
    taken.agrees([1.0], [2.0], base=[0.0], ties=[[2.0]])
    assert "tie" in taken.verdict().reason
    with pytest.raises(NotPassed):
        judge().agrees([1.0], [2.0], base=[0.0])


def test_a_predictor_may_have_several_values() -> None:
    with pytest.raises(NotPassed) as raised:
        judge().agrees([1.0], [2.0], base=[0.0], predictors={"p": [[3.0], [2.0]], "q": [[4.0]]})
    assert raised.value.verdict.predicted_by == ("p",)


def test_an_adapter_without_effect_does_not_act() -> None:
    judge().acts(0.06, "")
    with pytest.raises(NotPassed, match="does nothing"):
        judge().acts(0.0, "does nothing")
    with pytest.raises(NotPassed, match="too weak"):
        judge().acts(0.01, "does nothing")


def test_the_tables_keep_every_answer_and_each_adapters_worst() -> None:
    tables = Tables()
    context: Any = SimpleNamespace(table=tables.named)
    for error in (0.0, 0.5, 0.1):
        answer = Answer(
            model="a",
            text="",
            token_ids=(1, 2),
            logprobs=(-1.0, -2.0 + error),
            prompt_tokens=1,
            completion_tokens=2,
            finish_reason="length",
        )
        truth = Forced(
            token_ids=(1, 2),
            adapted=(-1.0, -2.0),
            base=(-1.0, -5.0),
            prompt_tokens=1,
            predicted={},
        )
        add_row(context, "scout", "a", f"{error}", answer, truth)
    assert len(tables["numerics"].rows) == 3
    assert tables["projections"].rows == [["scout/a", "0.5", -5.0, -2.0, -1.5, 0.5, 3.0]]
    assert tables["projections"].shown() == [
        ["scout/a", "0.5", "-5.0000", "-2.0000", "-1.5000", "5.0e-01", "3"]
    ]
