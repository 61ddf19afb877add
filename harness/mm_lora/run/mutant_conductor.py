"""Conducts a run in which the checks are judged with seeded defects, and without between them."""

import shlex
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mm_lora.checks.context import Upcoming
from mm_lora.checks.running import Served
from mm_lora.core.errors import ExitCode, ServerDied, UsageError
from mm_lora.core.interpreters import facts
from mm_lora.core.outcomes import Outcome, Verdict
from mm_lora.core.record import Check, Run
from mm_lora.inside.catalogue import PATCHES
from mm_lora.report import mutant_page
from mm_lora.run import mutant_turns
from mm_lora.run.conductor import Conductor
from mm_lora.run.inputs import Inputs
from mm_lora.run.mutant_book import Book, Judged
from mm_lora.run.mutant_document import MutantShard
from mm_lora.run.mutant_merge import FILE
from mm_lora.run.mutant_turns import SILENT, Lane, Part, Turn
from mm_lora.run.plan import Planned, make_plan
from mm_lora.run.shards import Shard
from mm_lora.serving.server.spec import ServerSpec


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which mutants are judged, in which lanes. `every`: by each candidate, and in the lanes too
    that are said not to see them."""

    lanes: tuple[Lane, ...] = (Lane.CHECKS,)
    only: tuple[str, ...] = ()
    shard: Shard | None = None
    every: bool = False


class MutantConductor(Conductor):
    """One run of mutants. Its checks are `Turn`s; `book` knows what they came to."""

    def __init__(self, inputs: Inputs, wanted: Wanted, **parts: Any) -> None:
        super().__init__(inputs, **parts)
        self.wanted = wanted
        self.book = Book((), wanted.lanes, every=wanted.every)
        self._turns: dict[str, Turn] = {}
        self._acting: dict[ServerSpec, str] = {}
        self._planned_mutants: tuple[str, ...] = ()
        self._code: ExitCode | None = None

    def arrange(self, checks: Sequence[Planned]) -> tuple[Planned, ...]:
        """Choose mutants and the checks that are to see them; plan each judgement."""
        if len(self.inputs.models) != 1:
            raise UsageError("mutants are seeded in one model at a time", "one --model")
        ((name, model),) = self.inputs.models.items()
        mine = [check for check in checks if check.wish and check.wish.model == name]
        every = mutant_turns.chosen(PATCHES, model.family.name, self.wanted.only)
        shard = self.wanted.shard
        mutants = mutant_turns.share(every, shard)
        self._planned_mutants = tuple(one.id for one in every)
        platform = self.inputs.profile.platform
        version = facts(self.inputs.server_python).vllm or ""
        misfit = {one.id: one.misfit(version, platform) for one in mutants}
        trials = mutant_turns.trials(
            mutants, mine, self.wanted.lanes, misfit=misfit, every=self.wanted.every
        )
        self.book = Book(trials, self.wanted.lanes, every=self.wanted.every)
        turns = mutant_turns.turns(trials)
        self._turns = {turn.id: turn for turn in turns}
        fitting = [one for one in mutants if not misfit[one.id]]
        planned = mutant_turns.planned(turns, mine, fitting, platform)
        return self.lay_out(make_plan(planned, self.inputs.profile, self.options))

    def begin(self, upcoming: Sequence[Upcoming] = ()) -> None:
        """As any run; the questions of a check that is judged many times are one."""
        super().begin(list(dict.fromkeys(upcoming)))

    def needless(self, check_id: str) -> str:
        """Why a judgement would say nothing new."""
        return "nothing new" if self.book.needless(self._turns[check_id]) else ""

    def before(self, check_id: str) -> None:
        """A judgement begins, if it is needed."""
        super().before("" if self.needless(check_id) else check_id)

    def prepare(self, check_id: str) -> Served | None:
        """The server; reset where another mutant acts now, or none any more."""
        turn, spec = self._turns[check_id], self.plan.server_of(check_id)
        own = turn.part is Part.SEEDED and self.book.trials[turn.mutant].patch.needs_restart
        try:
            served = super().prepare(check_id)
        except ServerDied as error:
            if own and spec not in self._acting:
                self.book.died_at_start(turn.mutant, error.what)
            raise
        if served is not None and spec is not None and self.context is not None:
            acting = turn.mutant if turn.part is Part.SEEDED else ""
            if self._acting.setdefault(spec, acting) != acting:
                served.reset()
                self.context.asker.forgive(spec)
                self._acting[spec] = acting
        return served

    @property
    def takes_turns(self) -> bool:
        """Every toggled mutant has its own checks."""
        return True

    def ended(self, check_id: str, verdict: Verdict) -> Check | None:
        """Note what a judgement came to; one that was not needed leaves no trace."""
        turn = self._turns[check_id]
        if verdict.outcome is Outcome.SKIP and self.needless(check_id):
            return None
        check = super().ended(check_id, verdict)
        if check is not None and self.context is not None:
            judged = Judged(
                outcome=check.outcome,
                reason=verdict.reason,
                crash=verdict.is_crash,
                duration_s=check.duration_s,
            )
            self.book.note(turn, judged)
            self.context.folder.write_json(FILE, self.document())
            if turn.part is Part.SEEDED and check.outcome is Outcome.FAIL:
                self.progress.say(f"{turn.mutant} is killed by {turn.case}")
        return check

    def time_left(self) -> None:
        """Nobody knows which judgements will be needless."""

    def repeat_line(self, check_id: str) -> str:
        """Judges the check again under the mutant, or without it."""
        turn = self._turns[check_id]
        kept = self.options.command_line(without=("only", "skip", "full"))
        silent = [SILENT] if self.inputs.profile.platform == "cpu" else []
        mutants = [*silent, *([turn.mutant] if turn.part is Part.SEEDED else [])]
        seeded = ["--set", f"mutant={','.join(mutants)}"] if mutants else []
        return shlex.join(["mm-lora", "verify", *kept, "--only", turn.case, *seeded])

    def outcome(self, run: Run, interrupted: ExitCode | None) -> tuple[ExitCode, str]:
        """By the mutants; a check that fails of one is what is wanted."""
        self._code, note = self._outcome(interrupted)
        return self._code, note

    def _outcome(self, interrupted: ExitCode | None) -> tuple[ExitCode, str]:
        note = "checks that fail of a seeded defect: see mutants.md"
        if self.fatal is not None:
            return self.fatal.exit_code, str(self.fatal)
        if interrupted is not None:
            return interrupted, f"interrupted; {note}"
        return self.book.exit_code(), note

    def document(self) -> dict[str, Any]:
        """mutants.json as it stands."""
        shard, vllm = self.wanted.shard, {} if self.context is None else self.context.run.vllm
        return self.book.document(
            model=next(iter(self.inputs.models)),
            vllm=str(vllm.get("version") or ""),
            exit_code=None if self._code is None else int(self._code),
            shard=shard
            and MutantShard(index=shard.index, count=shard.count, planned=self._planned_mutants),
        )

    def write_files(self) -> None:
        """mutants.json and mutants.md."""
        if self.context is not None:
            self.context.folder.write_json(FILE, self.document())
            self.context.folder.write("mutants.md", mutant_page.markdown(self.summary()))

    def summary(self) -> mutant_page.Summary:
        """What the text and the page show."""
        starts = [] if self.context is None else [one.ready_s for one in self.context.run.servers]
        ready = [one for one in starts if one is not None]
        return mutant_page.Summary(
            lanes=[
                mutant_page.LaneSummary(
                    name=str(lane),
                    rows=[self._row(lane, one) for one in self.book.results(lane)],
                    failed_clean=self.book.failed_clean(lane),
                )
                for lane in self.wanted.lanes
            ],
            start_s=statistics.median(ready) if ready else None,
        )

    def _row(self, lane: Lane, result: Any) -> mutant_page.Row:
        cases = self.book.trials[result.id].lanes.get(lane, ())
        seen = {c: str(o.outcome) for c, o in self.book.seeded(result.id).items() if c in cases}
        return mutant_page.Row(
            id=result.id,
            result=result.result,
            how=result.how or "",
            reason=result.reason,
            toggled=not self.book.trials[result.id].patch.needs_restart,
            duration_s=result.duration_s if seen else None,
            outcomes=seen,
        )
