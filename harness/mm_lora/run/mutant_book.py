"""What is known of each mutant while they are judged: what is still needed, results, exit code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from mm_lora.core.errors import ExitCode
from mm_lora.core.outcomes import Outcome
from mm_lora.core.typed import plain
from mm_lora.run.mutant_document import Baseline, How, LaneResults, MutantResult, MutantResults
from mm_lora.run.mutant_turns import Lane, Part, Trial, Turn

_BAD = (Outcome.FAIL, Outcome.ERROR, Outcome.VOID)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What one judgement came to. `crash`: the check failed since the server died of itself."""

    outcome: Outcome
    reason: str = ""
    crash: bool = False
    duration_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Result(MutantResult):
    """With what decides the exit code. `trouble`: it should have been judged and was not. `listed`:
    nothing was judged, the mutant itself says that it survives."""

    trouble: bool = False
    listed: bool = False

    @property
    def told(self) -> MutantResult:
        """As mutants.json has it."""
        own = {one.name: getattr(self, one.name) for one in fields(MutantResult)}
        return MutantResult(**{**own, "duration_s": round(self.duration_s, 3)})


class Book:
    """The judgements of one run. `every`: each candidate is judged, not only until one fails."""

    def __init__(self, trials: Sequence[Trial], lanes: Sequence[Lane], *, every: bool) -> None:
        self.trials = {trial.patch.id: trial for trial in trials}
        self.lanes = tuple(lanes)
        self._every = every
        self._judged: dict[Turn, Judged] = {}
        self._clean: dict[str, Outcome] = {}
        self._last: dict[str, str] = {}
        self.dead: dict[str, str] = {}

    def needless(self, turn: Turn) -> bool:
        """Whether nothing would be learned from a judgement now."""
        if turn.part is Part.AFTER:
            return self._last.get(turn.mutant) != turn.case
        if turn.mutant in self.dead or self._is_settled(turn):
            return True
        if turn.part is Part.CLEAN:
            return turn.case in self._clean
        return self._clean.get(turn.case) is not Outcome.PASS

    def note(self, turn: Turn, judged: Judged) -> None:
        """A judgement has come."""
        self._judged[turn] = judged
        if turn.part is Part.SEEDED:
            self._last[turn.mutant] = turn.case
        else:
            self._clean[turn.case] = judged.outcome

    def died_at_start(self, mutant: str, why: str) -> None:
        """A server does not start with the mutant."""
        self.dead[mutant] = why

    def _is_settled(self, turn: Turn) -> bool:
        lanes = self.trials[turn.mutant].lanes.values()
        mine = [cases for cases in lanes if turn.case in cases]
        return not self._every and all(self._failed(turn.mutant, cases) for cases in mine)

    def _failed(self, mutant: str, cases: Iterable[str]) -> dict[str, Judged]:
        found = self._of(mutant, cases)
        return {case: one for case, one in found.items() if one.outcome is Outcome.FAIL}

    def _of(self, mutant: str, cases: Iterable[str], part: Part = Part.SEEDED) -> dict[str, Judged]:
        asked = {case: Turn(case=case, mutant=mutant, part=part) for case in cases}
        return {c: self._judged[turn] for c, turn in asked.items() if turn in self._judged}

    def seeded(self, mutant: str) -> Mapping[str, Judged]:
        """Check → what it came to under the mutant."""
        return self._of(mutant, self.trials[mutant].cases)

    def results(self, lane: Lane) -> list[Result]:
        """Every mutant as it stands."""
        return [self._result(trial, lane) for trial in self.trials.values()]

    def _result(self, trial: Trial, lane: Lane) -> Result:
        mutant, listed = trial.patch.id, trial.patch.survives.get(lane, "")
        cases = trial.lanes.get(lane, ())
        found = self._of(mutant, cases)
        after = self._of(mutant, cases, Part.AFTER)
        took = sum(one.duration_s for one in (*found.values(), *after.values()))
        common: dict[str, Any] = {"id": mutant, "duration_s": took}
        common["restarted"] = trial.patch.needs_restart and bool(found or mutant in self.dead)
        if trial.reason:
            return Result(result="not-judged", reason=trial.reason, **common)
        if mutant in self.dead and cases:
            return Result(result="killed", how="start", reason=self.dead[mutant], **common)
        if failed := self._failed(mutant, cases):
            crashed = all(one.crash for one in failed.values())
            how: How = "crash" if crashed else "numbers"
            return Result(result="killed", how=how, killed_by=tuple(failed), **common)
        if not cases and listed:
            return Result(result="survived", reason=listed, listed=True, **common)
        outcomes = {one.outcome for one in found.values()}
        if Outcome.PASS in outcomes or (Outcome.VOID in outcomes and listed):
            return Result(result="survived", reason=listed, **common)
        why = next((f"{c}: {one.outcome}, {one.reason}" for c, one in found.items()), "")
        why = why or self._why_not(cases)
        return Result(result="not-judged", reason=why, trouble=True, **common)

    def _why_not(self, cases: Iterable[str]) -> str:
        clean = {case: self._clean[case] for case in cases if case in self._clean}
        bad = [f"{case} is {outcome}" for case, outcome in clean.items() if outcome in _BAD]
        if bad:
            return f"without the mutant {', '.join(bad)}"
        skipped = bool(clean) and all(one is Outcome.SKIP for one in clean.values())
        return "its checks are skipped here" if skipped else "the run ended before"

    def failed_clean(self, lane: Lane) -> list[str]:
        """The checks of a lane that did not pass without a mutant."""
        return [*self._bad(lane, Part.CLEAN), *self._bad(lane, Part.AFTER)]

    def _bad(self, lane: Lane, part: Part) -> list[str]:
        """The checks of a lane that do not pass without a mutant, before any or after one."""
        in_lane = self._cases(lane)
        return [
            turn.case if part is Part.CLEAN else turn.id
            for turn, one in self._judged.items()
            if turn.part is part and turn.case in in_lane and one.outcome in _BAD
        ]

    def _cases(self, lane: Lane) -> set[str]:
        """The candidates of all mutants in a lane."""
        return {case for trial in self.trials.values() for case in trial.lanes.get(lane, ())}

    def document(self, **known: Any) -> dict[str, Any]:
        """mutants.json, as the type `MutantResults` describes it; `known`: its other fields."""
        lanes = tuple(map(self._lane, self.lanes))
        document: dict[str, Any] = plain(MutantResults(lanes=lanes, **known))
        return document

    def _lane(self, lane: Lane) -> LaneResults:
        judged = len(self._cases(lane) & self._clean.keys())
        return LaneResults(
            lane=lane,
            baseline=Baseline(judged=judged, failed=tuple(self._bad(lane, Part.CLEAN))),
            mutants=tuple(one.told for one in self.results(lane)),
            control_failures=tuple(self._bad(lane, Part.AFTER)),
        )

    def exit_code(self) -> ExitCode:
        """1 for a survivor that nobody explains, 3 for what fails clean and for what should have
        been judged, 4 if no mutant was."""
        results = [one for lane in self.lanes for one in self.results(lane)]
        if any(one.result == "survived" and not one.reason for one in results):
            return ExitCode.FAIL
        bad = any(self.failed_clean(lane) for lane in self.lanes)
        if bad or any(one.trouble for one in results):
            return ExitCode.ERROR
        if all(one.result == "not-judged" or one.listed for one in results):
            return ExitCode.EMPTY
        return ExitCode.PASS
