"""One pass over the adapters: each differs from its base, repeats itself, keeps to itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mm_lora.checks.judging import Judge
from mm_lora.checks.watching import company
from mm_lora.checks.watching.findings import ANSWERS, NEIGHBOURS, PICTURE, TEXT, Finding
from mm_lora.checks.watching.noise import Base, said
from mm_lora.checks.watching.visitor import Visitor, question
from mm_lora.core.asking import Answer
from mm_lora.core.outcomes import NotPassed, Outcome, Verdict, told_apart

BUSY = (401, 403, 408, 429)
"""HTTP statuses, beside those from 500, that say nothing about an adapter."""

VISION_ALONE = "as the base without a picture, which is right for an adapter of the vision alone"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What is allowed on this server. `judge`: makes one that judges by it; `doubt`: differences
    up to this, in logprob, may be the server's own, however much the judge allows."""

    judge: Callable[[], Judge]
    doubt: float


class Adapters:
    """Judges the adapters of one server. `findings` has what is known at any time.

    `on_text`: whether an adapter changes the language model too, of those whose files are known.
    """

    def __init__(
        self, visitor: Visitor, base: Base, scale: Scale, on_text: Mapping[str, bool] | None = None
    ) -> None:
        self._visitor = visitor
        self._base = base
        self._scale = scale
        self._same = scale.judge().same
        self._on_text = on_text or {}
        self._alone = {(base.name, kind): answer for kind, answer in base.alone.items()}
        self._steady: list[str] = []
        self.findings: list[Finding] = []

    def judge(self, names: Sequence[str]) -> None:
        """All of them. Raises ServerTimeout and ServerDied, with what was found before kept."""
        for name in names:
            self._judge_alone(name)
        self._judge_together(names)

    def _judge_alone(self, name: str) -> None:
        mine: dict[str, Verdict] = {}
        repeats: dict[str, Verdict] = {}
        for kind in self._base.kinds:
            first, again = self._visitor.twice(question(kind, name))
            if trouble := _invalid(name, kind, (first, again)):
                self.findings.append(trouble)
                return
            self._alone[name, kind] = first
            mine[kind] = self._differs(first, kind)
            repeats[kind] = self._same_answer(first, again, "another answer when asked again")
        for kind, verdict in mine.items():
            if kind == TEXT and _acts(mine.get(PICTURE)):
                verdict = _excused(verdict, self._on_text.get(name))
            self._take(name, f"differs-{kind}", verdict, allowed=self._scale.judge().min_effect)
        for kind, verdict in repeats.items():
            self._take(name, f"repeats-{kind}", verdict)
        if all(verdict.outcome is Outcome.PASS for verdict in repeats.values()):
            self._steady.append(name)

    def _differs(self, answer: Answer, kind: str) -> Verdict:
        effect = told_apart(self._base.alone[kind], answer)
        reason = f"as its base answers, with {kind}: {effect:.3g} apart"
        verdict = _verdict(self._scale.judge(), lambda judge: judge.acts(effect, reason))
        if verdict.outcome is Outcome.PASS and effect <= self._scale.doubt:
            return replace(verdict, outcome=Outcome.VOID, reason=self._unsteady(effect))
        return verdict

    def _same_answer(self, one: Answer, other: Answer, reason: str) -> Verdict:
        verdict = _verdict(self._scale.judge(), lambda judge: judge.same_answer(one, other, reason))
        return self._doubted(verdict)

    def _judge_together(self, names: Sequence[str]) -> None:
        """Only those whose answers alone are known and steady: others prove nothing here."""
        wrong: dict[str, list[company.Mixed]] = {name: [] for name in names}
        troubles: dict[str, Finding] = {}
        groups = company.ring(self._base.name, self._steady)
        for group in groups:
            valid = {}
            for (tenant, kind), answer in company.ask(
                self._visitor, group, self._base.kinds
            ).items():
                trouble = _invalid(tenant, kind, (answer,))
                if trouble is None:
                    valid[tenant, kind] = answer
                else:
                    mine = replace(trouble, adapter=group.adapter, check=NEIGHBOURS)
                    troubles.setdefault(group.adapter, mine)
            for one in company.mixed(group, self._alone, valid, self._same):
                for name in one.blamed:
                    wrong[name].append(one)
        asked = {group.adapter for group in groups}
        for name in names:
            if name in troubles and not wrong[name]:
                self.findings.append(troubles[name])
            elif name in asked:
                self._take(name, NEIGHBOURS, self._neighbours(wrong[name]))
            elif any((name, kind) in self._alone for kind in self._base.kinds):
                void = Verdict(outcome=Outcome.VOID, reason="its answers alone are not steady")
                self._take(name, NEIGHBOURS, void)

    def _neighbours(self, wrong: Sequence[company.Mixed]) -> Verdict:
        return self._doubted(
            Verdict(
                outcome=Outcome.FAIL if wrong else Outcome.PASS,
                error=max((one.error for one in wrong), default=0.0),
                tolerance=self._same,
                reason="; ".join(one.words for one in wrong[:4]),
            )
        )

    def _doubted(self, verdict: Verdict) -> Verdict:
        """A failure that the server's own noise may explain proves nothing."""
        error = verdict.error
        if verdict.outcome is Outcome.FAIL and error is not None and error <= self._scale.doubt:
            return replace(verdict, outcome=Outcome.VOID, reason=self._unsteady(error))
        return verdict

    def _unsteady(self, difference: float) -> str:
        return (
            f"{difference:.3g} proves nothing: two answers of the base to one question are "
            f"{self._base.noise:.3g} apart, this server is not deterministic"
        )

    def _take(self, name: str, check: str, verdict: Verdict, allowed: float | None = None) -> None:
        difference = verdict.effect if verdict.error is None else verdict.error
        self.findings.append(
            Finding(
                adapter=name,
                check=check,
                outcome=verdict.outcome,
                difference=difference,
                allowed=verdict.tolerance if allowed is None else allowed,
                reason=verdict.reason,
            )
        )


def _acts(picture: Verdict | None) -> bool:
    return picture is not None and picture.outcome is Outcome.PASS


def _excused(verdict: Verdict, on_text: bool | None) -> Verdict:
    """Text that is the base's, of an adapter that acts where there is a picture."""
    if verdict.outcome not in (Outcome.FAIL, Outcome.VOID) or on_text:
        return verdict
    known = "its files (--adapter) would tell" if on_text is None else "and its files are such"
    return replace(verdict, outcome=Outcome.SKIP, reason=f"{VISION_ALONE}: {known}")


def _verdict(judge: Judge, judged: Callable[[Judge], None]) -> Verdict:
    try:
        judged(judge)
    except NotPassed as end:
        return end.verdict
    return judge.verdict()


def _invalid(name: str, kind: str, answers: Sequence[Answer]) -> Finding | None:
    """What makes an answer none: the adapter's fault, or the server's trouble."""
    for answer in answers:
        if answer.status != 200:
            fault = answer.status < 500 and answer.status not in BUSY
            outcome = Outcome.FAIL if fault else Outcome.ERROR
            reason = said(answer)
        elif problems := answer.problems(question(kind, name), None):
            outcome, reason = Outcome.FAIL, problems[0]
        else:
            continue
        return Finding(
            adapter=name, check=ANSWERS, outcome=outcome, reason=f"{name} with {kind}: {reason}"
        )
    return None
