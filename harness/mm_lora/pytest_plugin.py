"""What turns pytest into the runner of cases/: ids, selection, fixtures, recorded outcomes.

A case names its check with `@pytest.mark.check("group/{model}/…", title="…")`; the braces are
filled from its parameters.
`@pytest.mark.server(adapters=…, flags=…)` says what it needs of a server,
`@pytest.mark.full` keeps it out of the core, `@pytest.mark.every_model` keeps it in for each model,
`@pytest.mark.last` puts it behind all others of its server.
"""

import inspect
import shlex
import signal
import time
from collections.abc import Generator
from typing import Any

import pytest

from mm_lora import defects
from mm_lora import options as run_options
from mm_lora.adapters_own import read_all
from mm_lora.errors import ExitCode, MmLoraError, NotApplicable
from mm_lora.judging import Judge, NotPassed
from mm_lora.lab import Foreseen, Lab, selected_models
from mm_lora.models import PUBLISHED
from mm_lora.options import RunOptions
from mm_lora.outcomes import Outcome, Verdict, exit_code
from mm_lora.plan import Plan, Planned, Wish, make_plan, max_lora_rank
from mm_lora.profiles import Profile, load
from mm_lora.progress import Progress
from mm_lora.record import Check
from mm_lora.report import defect_entries, dotplot, junit, markdown
from mm_lora.report.folder import RunFolder
from mm_lora.selection import select
from mm_lora.served import Served
from mm_lora.server.port import PortReservation
from mm_lora.server.spec import ServerSpec

STATE = pytest.StashKey["State"]()
PLANNED = pytest.StashKey[Planned]()
JUDGE = pytest.StashKey[Judge]()


class State:
    """One pytest session: the options, the plan and, once checks run, the lab."""

    def __init__(self, options: RunOptions, profile: Profile) -> None:
        self.options = options
        self.profile = profile
        self.models = [model.name for model in selected_models(options, profile)]
        self.all: list[Planned] = []
        self.plan = Plan(())
        self.lab: Lab | None = None
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
        "foresee(asks): what the reference may compute before the server is ready",
        "last: judged after all others of its server",
        "every_model: in the core for every published model",
    ):
        config.addinivalue_line("markers", line)
    try:
        options = run_options.from_words(config.getoption("--mm"))
        config.stash[STATE] = State(options, load(options.profile))
    except MmLoraError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`model` is every published model and whatever else the user named; `own`: --adapter."""
    state = metafunc.config.stash[STATE]
    models = dict.fromkeys((*PUBLISHED, *state.models))
    if "own" in metafunc.fixturenames:
        metafunc.parametrize("own", list(state.own))
        models = dict.fromkeys(state.models)
    if "model" in metafunc.fixturenames:
        metafunc.parametrize("model", list(models))


def planned_of(item: pytest.Function, state: State) -> Planned:
    """The check that a collected case will judge. Raises ValueError for a case without an id."""
    mark = item.get_closest_marker("check")
    if mark is None:
        raise ValueError(f"{item.nodeid} has no @pytest.mark.check")
    parameters: dict[str, Any] = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    texts = {name: getattr(value, "label", value) for name, value in parameters.items()}
    model = str(parameters.get("model", ""))
    wanted = not model or model in state.models or item.get_closest_marker("every_model")
    wish = None
    server = item.get_closest_marker("server")
    if server is not None:
        own = [parameters["own"]] if "own" in parameters else []
        wish = Wish(
            model=model,
            adapters=(*server.kwargs.get("adapters", ()), *own),
            flags=tuple(sorted(server.kwargs.get("flags", {}).items())),
            env=tuple(sorted(server.kwargs.get("env", {}).items())),
            patches=tuple(server.kwargs.get("patches", ("auto",))),
            probe=bool(server.kwargs.get("probe", False)),
        )
    check_id = mark.args[0].format(**texts)
    asked_for = state.options.full or asks_for(state.options, check_id)
    return Planned(
        id=check_id,
        title=mark.kwargs["title"].format(**texts),
        core=bool(wanted and (asked_for or not item.get_closest_marker("full"))),
        wish=wish,
        last=item.get_closest_marker("last") is not None,
    )


def asks_for(options: RunOptions, check_id: str) -> bool:
    """Whether a setting asks for a check that is not in the core: `--set soak=5` for the soak."""
    return check_id.startswith("soak/") and bool({"soak", "replay"} & set(options.settings))


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
        if "own" in item.fixturenames and not state.own:
            continue  # pytest's stand-in for a case without parameters
        planned = planned_of(item, state)
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
        folder = RunFolder.create(state.options.reports)
        state.lab = lab = Lab(state.options, state.profile, folder, state.progress)
        state.progress.__enter__()
        state.progress.expect(len(state.plan.checks))
        lab.save()
        if state.plan.specs:
            lab.look_around()
            lab.require_files(spec.model for spec in state.plan.specs)
            if "port" in state.options.settings:
                PortReservation(int(state.options.settings["port"])).release()
            lab.pool.prefetch(state.plan.specs[0])
            lab.foresee([one for item in session.items for one in _foreseen(item)])
    except MmLoraError as error:
        state.fatal = error
        pytest.exit(str(error), returncode=int(error.exit_code))


def _foreseen(item: pytest.Item) -> list[Foreseen]:
    """What the case says it will ask: `@pytest.mark.foresee(asks=function of its parameters)`."""
    mark = item.get_closest_marker("foresee")
    if mark is None or not isinstance(item, pytest.Function):
        return []
    parameters = dict(item.callspec.params)
    asks = mark.kwargs["asks"]
    return list(asks(**{key: parameters[key] for key in inspect.signature(asks).parameters}))


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
    if spec is not None and state.lab is not None:
        specs = state.plan.specs
        following = specs[specs.index(spec) + 1 :]
        if state.last_of[spec] == planned.id:
            state.lab.pool.release(spec)
        if following and state.lab.pool.is_ready(spec):
            state.lab.pool.prefetch(following[0])
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn how a case ended into the outcome of its check, and write the report."""
    report = yield
    state = item.config.stash[STATE]
    ended_early = call.when == "setup" and call.excinfo is not None
    if state.lab is None or not (call.when == "call" or ended_early):
        return report
    verdict = _verdict(item, call)
    planned = item.stash[PLANNED]
    spec = state.plan.server_of(planned.id)
    outcome, defect = _settled(state, planned.id, verdict)
    check = Check(
        id=planned.id,
        title=planned.title,
        group=planned.id.partition("/")[0],
        server=spec.label if spec else None,
        duration_s=round(time.monotonic() - state.began, 3),
        repeat=_repeat(state.options, planned.id),
        outcome=outcome,
        defect=defect,
        expected=verdict.expected,
        observed=verdict.observed,
        error=verdict.error,
        tolerance=verdict.tolerance,
        effect=verdict.effect,
        reason=verdict.reason,
    )
    state.lab.run.checks.append(check)
    state.progress.checked(check.id, check.outcome, check.duration_s)
    try:
        state.lab.save()
    except MmLoraError as error:
        state.fatal = error
        pytest.exit(str(error), returncode=int(error.exit_code))
    if check.outcome is Outcome.ERROR and report.outcome == "passed":
        report.outcome = "failed"
        report.longrepr = check.reason
    if check.outcome is Outcome.KNOWN_DEFECT:
        report.outcome = "skipped"
        report.wasxfail = f"known defect {defect}"
    return report


def _verdict(item: pytest.Item, call: pytest.CallInfo[None]) -> Verdict:
    judge = item.stash.get(JUDGE, None)
    if call.excinfo is None:
        return judge.verdict() if judge else Verdict(outcome=Outcome.ERROR, reason="judged nothing")
    error = call.excinfo.value
    if isinstance(error, NotPassed):
        return error.verdict
    if isinstance(error, pytest.skip.Exception):
        return Verdict(outcome=Outcome.SKIP, reason=str(error.msg))
    if isinstance(error, NotApplicable):
        return Verdict(outcome=Outcome.SKIP, reason=str(error))
    if isinstance(error, MmLoraError):
        return Verdict(outcome=Outcome.ERROR, reason=str(error))
    place = call.excinfo.traceback[-1]
    file = str(place.path).rpartition("/")[2]
    return Verdict(
        outcome=Outcome.ERROR,
        reason=f"{type(error).__name__}: {error} ({file}:{place.lineno + 1})",
    )


def _settled(state: State, check_id: str, verdict: Verdict) -> tuple[Outcome, str | None]:
    """The outcome with the known defects in mind; with the fixes in, none is expected."""
    assert state.lab is not None
    version = state.lab.run.vllm.get("version")
    if not version or state.options.with_fixes:
        return verdict.outcome, None
    return defects.settle(verdict, check_id, version, state.profile.platform, state.defects)


def _repeat(options: RunOptions, check_id: str) -> str:
    told = all(model in (*PUBLISHED, "all") for model in options.model)
    without = ("only", "skip", "full", *(["model"] if told else []))
    kept = options.command_line(without=without)
    return shlex.join(["mm-lora", "verify", *kept, "--only", check_id])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Stop what runs, settle the exit code and write every report."""
    state = session.config.stash.get(STATE, None)
    if state is None or state.lab is None:
        return
    lab = state.lab
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # nothing may keep a server from being stopped
    lab.close()
    run = lab.run
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
    run.exit = code
    run.defects = defect_entries.entries(run.checks, state.defects)
    session.exitstatus = int(code)
    try:
        lab.save()
        report = run.as_json()
        lab.folder.write("junit.xml", junit.render(report))
        lab.folder.write("report.md", markdown.render(report))
        if picture := dotplot.render(report):
            lab.folder.write("numerics.svg", picture)
    except MmLoraError as error:
        state.fatal = error
        session.exitstatus = int(ExitCode.ERROR)
    state.progress.__exit__(None, None, None)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Where the report is, for those who call pytest themselves."""
    state = config.stash.get(STATE, None)
    if state is not None and state.lab is not None:
        run = state.lab.run
        counts = ", ".join(f"{count} {outcome}" for outcome, count in run.counts().items())
        terminalreporter.write_line(f"mm-lora: {counts or 'none judged'}  {run.note}".rstrip())
        terminalreporter.write_line(f"report: {state.lab.folder.path}")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Lab:
    """The run's workshop."""
    found = request.config.stash[STATE].lab
    assert found is not None
    return found


@pytest.fixture
def check(request: pytest.FixtureRequest, lab: Lab) -> Judge:
    """The judge of this check."""
    judge = Judge(tolerance=lab.profile.tolerance, min_effect=lab.profile.min_effect)
    request.node.stash[JUDGE] = judge
    return judge


@pytest.fixture
def served(request: pytest.FixtureRequest, lab: Lab) -> Served:
    """The server of this check, running."""
    state = request.config.stash[STATE]
    spec = state.plan.server_of(request.node.stash[PLANNED].id)
    if spec is None:
        raise ValueError("the case uses `served` without @pytest.mark.server")
    return Served.of(lab, spec)
