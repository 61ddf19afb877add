"""The judge that a case gets as `check`: keeps each verdict, stops at the first not passed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import (
    NotPassed,
    Outcome,
    Verdict,
    WrongRows,
    combine,
    judge_claim,
    judge_close,
    judge_equal,
    judge_shown,
    largest_difference,
    told_apart,
)


class Judge:
    """Collects the verdicts of one check. Methods return on `pass`, else raise NotPassed.

    `tolerance`, `min_effect`: logprob, the profile's. `same`: how far two answers of one server to
    the same question may be apart (another order of rows, another cache state). `note`: what a
    failure by a number must say beside it.
    """

    def __init__(
        self, *, tolerance: float, min_effect: float, same: float | None = None, note: str = ""
    ) -> None:
        self.tolerance = tolerance
        self.min_effect = min_effect
        self.same = tolerance / 100 if same is None else same
        self.note = note
        self.verdicts: list[Verdict] = []

    def equal(
        self,
        expected: Any,
        observed: Any,
        reason: str = "",
        predicted_by: Sequence[str] = (),
        wrong_rows: Sequence[WrongRows] = (),
    ) -> None:
        """Exactly the same: counts, names, texts, bit-identical logprobs.

        `predicted_by`: named predictors of a wrong value that hit what was observed; `wrong_rows`:
        what the layers did with the rows, where that is what differs.
        """
        verdict = judge_equal(expected, observed, reason)
        hits, rows = tuple(predicted_by), tuple(wrong_rows)
        self.take(replace(verdict, predicted_by=hits, wrong_rows=rows))

    def claim(
        self,
        holds: bool,
        *,
        expected: Any,
        observed: Any,
        reason: str,
        predicted_by: tuple[str, ...] = (),
    ) -> None:
        """A claim that holds or is broken; `predicted_by`: names of the predictors that hit."""
        verdict = judge_claim(holds, expected=expected, observed=observed, reason=reason)
        self.take(replace(verdict, predicted_by=() if holds else predicted_by))

    def proves(self, holds: bool, *, expected: Any, observed: Any, reason: str) -> None:
        """What must have happened for the claim to prove anything; `void` where it did not."""
        self.take(judge_shown(holds, expected=expected, observed=observed, reason=reason))

    def unchanged(
        self, expected: Sequence[float], observed: Sequence[float], *, tolerance: float
    ) -> None:
        """Logprobs of one answer agree; a claim that nothing changes has no effect rule."""
        self.take(judge_close(expected, observed, tolerance=tolerance))

    def same_answer(
        self,
        expected: Answer,
        observed: Answer,
        reason: str = "",
        predicted_by: Sequence[str] = (),
    ) -> None:
        """Two answers of one server to one question: see `outcomes.told_apart`, within `same`.

        `predicted_by`: named predictors of a wrong answer that hit it.
        """
        error = told_apart(expected, observed)
        why = f"{reason or 'another answer'}: {error:.3g} is above {self.same:.3g}"
        self.take(
            Verdict(
                outcome=Outcome.PASS if error <= self.same else Outcome.FAIL,
                expected=[expected.text, list(expected.logprobs)],
                observed=[observed.text, list(observed.logprobs)],
                error=error,
                tolerance=self.same,
                reason="" if error <= self.same else why,
                predicted_by=() if error <= self.same else tuple(predicted_by),
            )
        )

    def agrees(
        self,
        reference: Sequence[float],
        server: Sequence[float],
        *,
        base: Sequence[float] | None,
        tolerance: float | None = None,
        min_effect: float | None = None,
        predictors: Mapping[str, Sequence[Sequence[float]]] | None = None,
        ties: Sequence[Sequence[float]] = (),
        elsewhere: Sequence[Sequence[float]] = (),
    ) -> None:
        """Server equals reference, and the adapter acts; `base` None for the base model itself.

        `ties`: what the reference may be as well (`worker.routing`); the nearest one is the truth.
        `elsewhere`: what it may be as well, since a known defect of the base is judged elsewhere.
        `predictors`: wrong values by their predictor, which may have several.
        """
        allowed = self.tolerance if tolerance is None else tolerance
        rights = (reference, *ties, *elsewhere)
        nearest = min(rights, key=lambda values: largest_difference(values, server))
        verdict = judge_close(
            nearest,
            server,
            tolerance=allowed,
            base=base,
            min_effect=None if base is None else (min_effect or self.min_effect),
        )
        hits = tuple(
            name
            for name, several in (predictors or {}).items()
            if any(largest_difference(values, server) <= allowed for values in several)
        )
        reason = verdict.reason
        if nearest is not reference and verdict.outcome is Outcome.PASS:
            reason = (
                "as the reference with a known defect of the base, judged elsewhere"
                if nearest in elsewhere
                else "as the reference on the other side of a routing tie"
            )
        self.take(replace(verdict, predicted_by=hits, reason=reason))

    def acts(self, effect: float, reason: str) -> None:
        """An adapter moves the answer by at least the profile's least effect, in logprob.

        Less than two answers to one question may differ is none: `fail`. What is more, but too
        little to tell right from wrong, is `void`: a stronger adapter is needed.
        """
        judge = judge_claim if effect < self.same else judge_shown
        why = reason if effect < self.same else f"too weak to prove anything ({effect:.3g})"
        verdict = judge(
            effect >= self.min_effect,
            expected=f"at least {self.min_effect:.3g}",
            observed=effect,
            reason=why,
        )
        self.take(replace(verdict, effect=effect))

    def verdict(self) -> Verdict:
        """All verdicts as one. A case that judged nothing is an `error`: it proves nothing."""
        if not self.verdicts:
            return Verdict(outcome=Outcome.ERROR, reason="the case judged nothing")
        return combine(self.verdicts)

    def take(self, verdict: Verdict) -> None:
        """Store a verdict; NotPassed ends the case unless it is a `pass`."""
        if self.note and verdict.outcome is Outcome.FAIL and verdict.error is not None:
            verdict = replace(verdict, reason=f"{verdict.reason}; {self.note}")
        self.verdicts.append(verdict)
        if verdict.outcome is not Outcome.PASS:
            raise NotPassed(verdict)
