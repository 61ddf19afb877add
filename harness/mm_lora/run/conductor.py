"""Conducts a run in order: choose checks, start and prepare servers, judge, record, end.

Whoever runs the cases calls it: `arrange`, `begin`, then for each check `before`, `prepare`,
`judge`, `ended` and `after`, and in any case `end`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from mm_lora.checks.context import Context, Upcoming
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.checks.unseen import unseen
from mm_lora.core.errors import ExitCode, MmLoraError
from mm_lora.core.outcomes import Outcome, Verdict
from mm_lora.core.progress import Progress
from mm_lora.core.record import Check, Run
from mm_lora.core.report import of_run
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.selection import require_matches, select
from mm_lora.core.timings import Timings
from mm_lora.report import defect_entries, files
from mm_lora.run import costs, ending, needs, tolerances
from mm_lora.run.context import RunContext
from mm_lora.run.inputs import Inputs
from mm_lora.run.plan import Plan, Planned, make_plan, part_of
from mm_lora.run.signals import Signals
from mm_lora.run.time_left import Left, TimeLeft
from mm_lora.run.tolerances import Allowed
from mm_lora.serving.server.port import PortReservation
from mm_lora.serving.server.spec import ServerSpec


class Workshop(Context, Protocol):
    """A run's context as its conductor needs it."""

    @property
    def timings(self) -> Timings:
        """How long each part took."""
        ...

    def look_around(self) -> None:
        """Learn which vLLM is served."""
        ...

    def attach(self, specs: Iterable[ServerSpec]) -> None:
        """Let a server that runs already stand for each spec."""
        ...

    def begin_import(self, spec: ServerSpec) -> None:
        """Begin to import vLLM for the first server."""
        ...

    def require_files(self, models: Iterable[str]) -> None:
        """Raise UsageError for files of the user's that do not fit."""
        ...

    def answer_ahead(self, expected: Sequence[Upcoming]) -> None:
        """Let the reference compute what will be asked."""
        ...

    def tune(self, served: Served) -> Allowed:
        """Measure a running server; its adapters may be built stronger and it be restarted."""
        ...

    def save(self) -> None:
        """Write the report as it is now."""
        ...

    def close(self) -> None:
        """End every process."""
        ...


class Conductor:
    """One run. What ends it before its time is `fatal`, or `interrupted` by a signal's code."""

    def __init__(
        self,
        inputs: Inputs,
        *,
        make_context: Callable[[Inputs, RunFolder, Progress], Workshop] = RunContext,
        progress: Progress | None = None,
        signals: Signals | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.inputs = inputs
        self.options = inputs.options
        self.progress = progress or Progress()
        self.context: Workshop | None = None
        self.plan = Plan(())
        self.fatal: MmLoraError | None = None
        self.interrupted: ExitCode | None = None
        self._whole: list[str] = []
        self._make_context = make_context
        self._signals = signals or Signals()
        self._clock = clock
        self._began = 0.0
        self._planned: dict[str, Planned] = {}
        self._last_of: dict[ServerSpec, str] = {}
        self._ids_on: dict[ServerSpec, list[str]] = {}
        self._allowed: dict[ServerSpec, Allowed] = {}
        self._time = TimeLeft(self.plan, {})

    def arrange(self, checks: Sequence[Planned]) -> tuple[Planned, ...]:
        """Select from all checks and plan their servers: what to judge, in order."""
        ids = [check.id for check in checks]
        core = [check.id for check in checks if check.core]
        if self.inputs.profile.select:
            kept = set(select(ids, core, self.inputs.profile.select, ()))
            core = [identity for identity in core if identity in kept]
        chosen = set(select(ids, core, self.options.only, self.options.skip))
        require_matches(self.options.settings.scopes, sorted(chosen), "--set mutant=…@")
        selected = [
            replace(check, deadly=self.inputs.ends_server(check.id))
            for check in checks
            if check.id in chosen
        ]
        return self.lay_out(make_plan(selected, self.inputs.profile, self.options))

    def lay_out(self, plan: Plan) -> tuple[Planned, ...]:
        """Take a plan, or this shard's part of it: what to judge, in order."""
        self.plan = plan
        self._whole = [check.id for check in self.plan.checks]
        if self.options.shard is not None:
            self.plan = part_of(self.plan, self.options.shard)
        self._planned = {check.id: check for check in self.plan.checks}
        on = ((check.id, self.plan.server_of(check.id)) for check in self.plan.checks)
        for identity, spec in on:
            if spec is not None:
                self._last_of[spec] = identity
                self._ids_on.setdefault(spec, []).append(identity)
        return self.plan.checks

    def needless(self, check_id: str) -> str:
        """Why a planned check need not be judged any more; it then leaves no trace."""
        return ""

    def begin(self, upcoming: Sequence[Upcoming] = ()) -> None:
        """Make the run's folder, look around, and begin to start the first server."""
        self._signals.catch(self.interrupt)
        specs = self.plan.specs
        if specs and not self.options.base_url:
            models, python = self.inputs.models.values(), self.inputs.server_python
            needs.require(self.inputs.profile, models, python, self.progress.say)
        folder = RunFolder.create(self.options.reports)
        self.context = context = self._make_context(self.inputs, folder, self.progress)
        if self.options.shard is not None:
            context.run.shard = self.options.shard.as_json(self._whole)
        self.progress.__enter__()
        self.progress.expect(len(self.plan.checks))
        self._time = TimeLeft(self.plan, costs.read().seconds)
        context.save()
        if not specs:
            return
        with context.timings.of("look around"):
            context.look_around()
        if self.options.base_url:
            context.attach(specs)
            return
        context.begin_import(specs[0])
        context.require_files(spec.model for spec in specs)
        if self.options.settings.port is not None:
            PortReservation(self.options.settings.port).release()
        context.pool.prefetch(specs[0])
        context.answer_ahead(upcoming)

    def interrupt(self, signum: int) -> None:
        """End the run; a second signal must not leave a server behind, and changes nothing."""
        if self.interrupted is None:
            self.interrupted = ExitCode(128 + signum)
            raise KeyboardInterrupt

    def before(self, check_id: str) -> None:
        """A check begins."""
        if self.interrupted is not None:  # where a library swallowed the exception
            raise KeyboardInterrupt
        self._began = self._clock()
        self.progress.checking(check_id)

    def prepare(self, check_id: str) -> Served | None:
        """The check's server, running; measured before the first check on it.

        Raises what its start raised; None where the check needs no server.
        """
        spec = self.plan.server_of(check_id)
        if spec is None or self.context is None:
            return None
        self.context.asker.deadly = self._planned[check_id].deadly
        served = Served.of(self.context, spec)
        if spec not in self._allowed:
            own = tolerances.of_profile(self.inputs.profile)
            self._allowed[spec] = own  # whatever becomes of the measurement
            if tolerances.is_measured(self.inputs.profile):
                with self.context.timings.of("noise and effects", spec.label):
                    self._allowed[spec] = self.context.tune(served)
        return served

    def judge(self, check_id: str) -> Judge:
        """A judge by what the check's server allows."""
        allowed = tolerances.of_profile(self.inputs.profile)
        spec = self.plan.server_of(check_id)
        if spec is not None:
            allowed = self._allowed.get(spec, allowed)
        return Judge(
            tolerance=allowed.tolerance,
            min_effect=allowed.min_effect,
            same=allowed.same,
            note=allowed.note,
        )

    def ended(self, check_id: str, verdict: Verdict) -> Check | None:
        """Settle what the check came to, and write the report; None before the run began."""
        if self.context is None:
            return None
        planned, spec = self._planned[check_id], self.plan.server_of(check_id)
        took = self._clock() - self._began
        outcome, defect = ending.outcome_of(self.inputs, self.context.run, check_id, verdict)
        if outcome is Outcome.KNOWN_DEFECT and spec and verdict.is_crash:
            self.context.asker.explained(spec)
        check = Check(
            id=check_id,
            title=planned.title,
            group=check_id.partition("/")[0],
            server=spec.label if spec else None,
            duration_s=round(took, 3),
            began_s=round(max(0.0, self.context.timings.elapsed_s - took), 3),
            repeat=self.repeat_line(check_id),
            outcome=outcome,
            defect=defect,
            expected=verdict.expected,
            observed=verdict.observed,
            error=verdict.error,
            tolerance=verdict.tolerance,
            effect=verdict.effect,
            reason=ending.reason_of(self.inputs, self.context.run, check_id, verdict),
            wrong_rows=verdict.wrong_rows,
        )
        self.context.run.checks.append(check)
        self.progress.checked(check.id, check.outcome, check.duration_s)
        self._time.ended(check.id, took)
        if left := self.time_left():
            self.progress.left(left.seconds, at_least=left.at_least)
        self.context.save()
        return check

    def time_left(self) -> Left | None:
        """How long the run will still take, if that can be told."""
        return self._time.left()

    def repeat_line(self, check_id: str) -> str:
        """The command that judges this check again, alone."""
        return ending.repeat_line(self.options, check_id)

    @property
    def takes_turns(self) -> bool:
        """Whether a mutant is bound to some checks."""
        return bool(self.options.settings.scopes)

    @contextmanager
    def judging(self, check_id: str) -> Iterator[None]:
        """While a check is judged, the mutants that are bound to it have their turn."""
        if self.context is None or not self.takes_turns:
            yield
            return
        self.context.pool.judging(check_id)
        try:
            yield
        finally:
            self.context.pool.judging("")

    def after(self, check_id: str) -> None:
        """Stop a server after its last check, and begin to start the next one in time."""
        spec = self.plan.server_of(check_id)
        if spec is None or self.context is None:
            return
        specs = self.plan.specs
        following = specs[specs.index(spec) + 1 :]
        if self._last_of[spec] == check_id:
            self.context.pool.release(spec)
        if not self.context.pool.is_ready(spec):
            return
        wanted = (one for one in following if not all(map(self.needless, self._ids_on[one])))
        for one in wanted:
            self.context.pool.prefetch(one)
            return

    def end(self, *, interrupted: bool = False) -> ExitCode | None:
        """Stop what runs, choose the exit code and write every report; None if nothing began."""
        context = self.context
        if context is None:
            return None
        self._signals.ignore()
        with context.timings.of("close"):
            context.close()
        run = context.run
        signalled = (self.interrupted or ExitCode.SIGINT) if interrupted else None
        code, run.note = self.outcome(run, signalled)
        run.exit = code
        run.defects = defect_entries.entries(run.checks, self.inputs.defects)
        if run.shard is None:  # a part of a run does not see what the others see
            families = {model.family.name for model in self.inputs.models.values()}
            version = str(run.vllm.get("version") or "")
            run.limits = [*run.limits, *unseen(run.checks, families, version)]
        try:
            context.save()
            self.write_files()
        except MmLoraError as error:
            self.fatal, code = error, ExitCode.ERROR
        self.progress.__exit__(None, None, None)
        return code

    def outcome(self, run: Run, interrupted: ExitCode | None) -> tuple[ExitCode, str]:
        """Exit code and note of the run as it ended; `interrupted`: the code of a signal."""
        return ending.of_run(
            run,
            planned=len(self.plan.checks),
            whole=len(self._whole),
            strict=self.options.strict,
            fatal=self.fatal,
            interrupted=interrupted,
        )

    def write_files(self) -> None:
        """The files beside report.json. Raises ReportError."""
        if self.context is not None:
            files.write(self.context.folder, of_run(self.context.run))
