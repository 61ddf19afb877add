"""What turns pytest into the runner of cases/: ids, selection, fixtures, recorded outcomes.

A case names its check with `@pytest.mark.check("group/{model}/…", title="…")`; the braces are
filled from its parameters.
`@pytest.mark.server(adapters=…, flags=…)` says what it needs of a server,
`@pytest.mark.full` keeps it out of the core, `@pytest.mark.every_model` keeps it in for each model,
`@pytest.mark.last` puts it behind all others of its server.
"""

import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.own import read_all
from mm_lora.checks import defects
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.core.errors import ExitCode, MmLoraError
from mm_lora.core.outcomes import Outcome, exit_code
from mm_lora.core.progress import Progress
from mm_lora.core.record import Check
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.selection import select
from mm_lora.report import defect_entries, files
from mm_lora.run import needs, tolerances, tuning
from mm_lora.run import options as run_options
from mm_lora.run.case_end import repeat_line, settled, verdict_of
from mm_lora.run.case_marks import foreseen, is_stand_in, joined_parameters, planned_of
from mm_lora.run.context import RunContext, families_at_hand, selected_models
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Plan, Planned, make_plan, max_lora_rank, part_of
from mm_lora.run.profiles import Profile, load
from mm_lora.serving.server.port import PortReservation
from mm_lora.serving.server.spec import ServerSpec

STATE = pytest.StashKey["State"]()
PLANNED = pytest.StashKey[Planned]()
JUDGE = pytest.StashKey[Judge]()


class State:
    """One pytest session: the options, the plan and, once checks run, the context."""

    def __init__(self, options: RunOptions, profile: Profile) -> None:
        self.options = options
        self.profile = profile
        selected = selected_models(options, profile)
        self.models = [model.name for model in selected]
        self.families = families_at_hand(options, selected)
        self.all: list[Planned] = []
        self.plan = Plan(())
        self.whole: list[str] = []
        self.context: RunContext | None = None
        self.progress = Progress()
        self.fatal: MmLoraError | None = None
        self.interrupted: ExitCode | None = None
        self.began = 0.0
        self.defects = defects.load()
        self.last_of: dict[ServerSpec, str] = {}
        self.own = read_all(options.adapter)
        for own in self.own.values():
            own.require_rank(max_lora_rank(profile))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--mm key=value`: the options of `mm-lora verify`, for those who call pytest themselves."""
    parser.getgroup("mm-lora").addoption(
        "--mm",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of `mm-lora verify`, for example --mm model=all (repeatable)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the options and say what the marks mean."""
    for line in (
        "check(id, title): the id of the check that this case judges",
        "server(adapters, flags, env, patches, probe): what the case needs of a server",
        "full: not part of the core",
        "each(names, of): a parameter whose values a function of the model's family gives",
        "foresee(asks): what the reference may compute before the server is ready",
        "last: judged after all others of its server",
        "truth(name): a truth of the profile without which the check does not apply",
        "every_model: in the core for every published model",
    ):
        config.addinivalue_line("markers", line)
    try:
        options = run_options.from_words(config.getoption("--mm"))
        profile = load(options.profile)
        run_options.require_place(options, profile.truths)
        config.stash[STATE] = State(options, profile)
    except MmLoraError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`model` is every published model of the families at hand and whatever else the user named,
    `own` each --adapter; what `each` says goes with the model's family."""
    state = metafunc.config.stash[STATE]
    models = state.families
    if "own" in metafunc.fixturenames:
        metafunc.parametrize("own", list(state.own))
        models = {name: models[name] for name in state.models}
    joined = joined_parameters(metafunc.definition, models)
    if joined is not None:
        metafunc.parametrize(*joined)
    elif "model" in metafunc.fixturenames:
        metafunc.parametrize("model", list(models))


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A case that cannot be imported would otherwise be missing without a word."""
    if report.failed:
        text = str(report.longrepr)
        raise pytest.UsageError(f"a case cannot be read: {report.nodeid}\n{text[-2000:]}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name, select and order the checks."""
    state = config.stash[STATE]
    by_id: dict[str, pytest.Item] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        if is_stand_in(item):
            continue
        planned = planned_of(item, state.options, state.profile, state.models, state.families)
        if planned.id in by_id:
            raise ValueError(
                f"two cases judge {planned.id}: {by_id[planned.id].nodeid}, {item.nodeid}"
            )
        by_id[planned.id] = item
        item.stash[PLANNED] = planned
        state.all.append(planned)
    ids = list(by_id)
    core = [p.id for p in state.all if p.core]
    if state.profile.select:
        core = [i for i in core if i in set(select(ids, core, state.profile.select, ()))]
    try:
        chosen = set(select(ids, core, state.options.only, state.options.skip))
        state.plan = make_plan(
            [p for p in state.all if p.id in chosen], state.profile, state.options
        )
    except MmLoraError as error:
        state.fatal = error
        pytest.exit(str(error), returncode=int(error.exit_code))
    state.whole = [planned.id for planned in state.plan.checks]
    if state.options.shard is not None:
        state.plan = part_of(state.plan, state.options.shard)
    chosen_items = [by_id[planned.id] for planned in state.plan.checks]
    config.hook.pytest_deselected(items=[i for i in items if i not in chosen_items])
    items[:] = chosen_items
    servers = ((planned.id, state.plan.server_of(planned.id)) for planned in state.plan.checks)
    state.last_of = {spec: check_id for check_id, spec in servers if spec is not None}


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Make the run folder, look at the interpreters, and begin to start the first server."""
    state = session.config.stash[STATE]
    if session.config.option.collectonly or session.testsfailed:
        return

    def interrupt(signum: int, frame: object) -> None:
        if state.interrupted is None:  # a second one must not leave a server behind
            state.interrupted = ExitCode(128 + signum)
            raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)
    try:
        if state.plan.specs and not state.options.base_url:
            python = state.options.server_python or Path(sys.executable)
            models = selected_models(state.options, state.profile)
            needs.require(state.profile, models, python, state.progress.say)
        folder = RunFolder.create(state.options.reports)
        state.context = context = RunContext(state.options, state.profile, folder, state.progress)
        if state.options.shard is not None:
            context.run.shard = state.options.shard.as_json(state.whole)
        state.progress.__enter__()
        state.progress.expect(len(state.plan.checks))
        context.save()
        if state.plan.specs:
            with context.timings.of("look around"):
                context.look_around()
            if state.options.base_url:
                context.attach(state.plan.specs)
                return
            context.require_files(spec.model for spec in state.plan.specs)
            if "port" in state.options.settings:
                PortReservation(int(state.options.settings["port"])).release()
            context.pool.prefetch(state.plan.specs[0])
            asked = [item for item in session.items if not item.stash[PLANNED].skip]
            context.foresee([one for item in asked for one in foreseen(item, state.families)])
    except MmLoraError as error:
        state.fatal = error
        pytest.exit(str(error), returncode=int(error.exit_code))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, Any, Any]:
    """Time a check and, after the last one on a server, stop that server."""
    state = item.config.stash[STATE]
    planned = item.stash[PLANNED]
    if state.interrupted is not None:  # where a library swallowed the exception
        raise KeyboardInterrupt
    state.began = time.monotonic()
    state.progress.checking(planned.id)
    result = yield
    spec = state.plan.server_of(planned.id)
    if spec is not None and state.context is not None:
        specs = state.plan.specs
        following = specs[specs.index(spec) + 1 :]
        if state.last_of[spec] == planned.id:
            state.context.pool.release(spec)
        if following and state.context.pool.is_ready(spec):
            state.context.pool.prefetch(following[0])
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A check that does not apply ends before its fixtures, and so before any server."""
    if item.stash[PLANNED].skip:
        pytest.skip(item.stash[PLANNED].skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn how a case ended into the outcome of its check, and write the report."""
    report = yield
    state = item.config.stash[STATE]
    ended_early = call.when == "setup" and call.excinfo is not None
    if state.context is None or not (call.when == "call" or ended_early):
        return report
    verdict = verdict_of(item.stash.get(JUDGE, None), call)
    planned = item.stash[PLANNED]
    spec = state.plan.server_of(planned.id)
    outcome, defect = settled(
        state.defects, state.context.run, state.options, state.profile.platform, planned.id, verdict
    )
    check = Check(
        id=planned.id,
        title=planned.title,
        group=planned.id.partition("/")[0],
        server=spec.label if spec else None,
        duration_s=round(time.monotonic() - state.began, 3),
        repeat=repeat_line(state.options, planned.id),
        outcome=outcome,
        defect=defect,
        expected=verdict.expected,
        observed=verdict.observed,
        error=verdict.error,
        tolerance=verdict.tolerance,
        effect=verdict.effect,
        reason=verdict.reason,
    )
    state.context.run.checks.append(check)
    state.progress.checked(check.id, check.outcome, check.duration_s)
    try:
        state.context.save()
    except MmLoraError as error:
        state.fatal = error
        pytest.exit(str(error), returncode=int(error.exit_code))
    if check.outcome is Outcome.ERROR and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = check.reason
    if check.outcome is Outcome.SKIP:
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, check.reason)
    if check.outcome is Outcome.KNOWN_DEFECT:
        report.outcome = "skipped"
        report.wasxfail = f"known defect {defect}"
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Stop what runs, settle the exit code and write every report."""
    state = session.config.stash.get(STATE, None)
    if state is None or state.context is None:
        return
    context = state.context
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # nothing may keep a server from being stopped
    with context.timings.of("close"):
        context.close()
    run = context.run
    code = exit_code(
        (c.outcome for c in run.checks),
        # With somebody's diff in, a defect that is gone is their good news, not our stale entry.
        stale="diff" not in run.vllm
        and any(c.outcome is Outcome.FIXED_UPSTREAM for c in run.checks),
        strict=state.options.strict,
    )
    if state.fatal is not None:
        code, run.note = state.fatal.exit_code, str(state.fatal)
    elif exitstatus == pytest.ExitCode.INTERRUPTED:
        code = state.interrupted or ExitCode.SIGINT
        run.note = f"interrupted after {len(run.checks)} of {len(state.plan.checks)} checks"
    elif len(run.checks) < len(state.plan.checks):
        code = max(code, ExitCode.ERROR) if code is not ExitCode.FAIL else code
        run.note = f"only {len(run.checks)} of {len(state.plan.checks)} checks were judged"
    elif state.options.shard is not None and not state.plan.checks and state.whole:
        code, run.note = ExitCode.PASS, "no server falls into this shard"
    run.exit = code
    run.defects = defect_entries.entries(run.checks, state.defects)
    session.exitstatus = int(code)
    try:
        context.save()
        files.write(context.folder, run.as_json())
    except MmLoraError as error:
        state.fatal = error
        session.exitstatus = int(ExitCode.ERROR)
    state.progress.__exit__(None, None, None)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Where the report is, for those who call pytest themselves."""
    state = config.stash.get(STATE, None)
    if state is not None and state.context is not None:
        run = state.context.run
        counts = ", ".join(f"{count} {outcome}" for outcome, count in run.counts().items())
        terminalreporter.write_line(f"mm-lora: {counts or 'none judged'}  {run.note}".rstrip())
        terminalreporter.write_line(f"report: {state.context.folder.path}")


@pytest.fixture(scope="session")
def context(request: pytest.FixtureRequest) -> RunContext:
    """The run's workshop."""
    found = request.config.stash[STATE].context
    assert found is not None
    return found


@pytest.fixture
def check(request: pytest.FixtureRequest, context: RunContext) -> Judge:
    """The judge of this check, with what its server's noise allows."""
    allowed = tolerances.of_profile(context.profile)
    if "served" in request.fixturenames:
        allowed = tuning.of(request.getfixturevalue("served"))
    judge = Judge(
        tolerance=allowed.tolerance,
        min_effect=allowed.min_effect,
        same=allowed.same,
        note=allowed.note,
    )
    request.node.stash[JUDGE] = judge
    return judge


@pytest.fixture
def served(request: pytest.FixtureRequest, context: RunContext) -> Served:
    """The server of this check, running."""
    state = request.config.stash[STATE]
    spec = state.plan.server_of(request.node.stash[PLANNED].id)
    if spec is None:
        raise ValueError("the case uses `served` without @pytest.mark.server")
    return Served.of(context, spec)
