"""Makes pytest the runner of cases/: its events become calls of the conductor."""

import copy
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest

from mm_lora.checks.context import Context
from mm_lora.checks.judging import Judge
from mm_lora.checks.running import Served
from mm_lora.core.errors import MmLoraError
from mm_lora.run.case_end import tell, verdict_of
from mm_lora.run.case_marks import MARKS, is_stand_in, joined_parameters, planned_of, upcoming
from mm_lora.run.conductor import Conductor
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import of_words
from mm_lora.run.plan import Planned

CONDUCTOR = pytest.StashKey[Conductor]()
PLANNED = pytest.StashKey[Planned]()
JUDGE = pytest.StashKey[Judge]()


class Handed:
    """Registered beside this plugin by a caller in the same process: the run to conduct."""

    def __init__(self, conductor: Conductor) -> None:
        self.conductor = conductor


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
    """Find the run that a caller has handed over, or read the options of one."""
    for line in MARKS:
        config.addinivalue_line("markers", line)
    plugins = config.pluginmanager.get_plugins()
    found = next((one.conductor for one in plugins if isinstance(one, Handed)), None)
    try:
        found = found or Conductor(Inputs.read(of_words(config.getoption("--mm"))))
    except MmLoraError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[CONDUCTOR] = found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`model` is every published model of the families at hand and whatever else the user named,
    `own` each --adapter; what `each` says goes with the model's family."""
    inputs = metafunc.config.stash[CONDUCTOR].inputs
    models = inputs.families
    if "own" in metafunc.fixturenames:
        metafunc.parametrize("own", list(inputs.own))
        models = {name: models[name] for name in inputs.models}
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
    """Name the checks of all cases, and keep those that the conductor chooses, in its order."""
    conductor = config.stash[CONDUCTOR]
    inputs = conductor.inputs
    by_id: dict[str, pytest.Item] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        if is_stand_in(item):
            continue
        planned = planned_of(item, inputs.options, inputs.profile, inputs.models, inputs.families)
        if planned.id in by_id:
            raise ValueError(
                f"two cases judge {planned.id}: {by_id[planned.id].nodeid}, {item.nodeid}"
            )
        by_id[planned.id] = item
        item.stash[PLANNED] = planned
    with _fatal(conductor):
        order = conductor.arrange([item.stash[PLANNED] for item in by_id.values()])
    chosen = [_item(by_id, check) for check in order]
    kept = set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = chosen


def _item(by_id: Mapping[str, pytest.Item], check: Planned) -> pytest.Item:
    """What judges a check; a copy where a case is judged once more under another id."""
    if not check.case:
        return by_id[check.id]
    again = copy.copy(by_id[check.case])
    again.stash = pytest.Stash()
    again.stash[PLANNED] = check
    assert isinstance(again, pytest.Function)
    again._initrequest()  # fixtures are the item's own
    return again


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """The run begins."""
    if session.config.option.collectonly or session.testsfailed:
        return
    conductor = session.config.stash[CONDUCTOR]
    families = conductor.inputs.families
    items = [item for item in session.items if not item.stash[PLANNED].skip]
    with _fatal(conductor):
        conductor.begin([one for item in items for one in upcoming(item, families)])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, Any, Any]:
    """A check begins, and is over."""
    conductor = item.config.stash[CONDUCTOR]
    conductor.before(item.stash[PLANNED].id)
    result = yield
    conductor.after(item.stash[PLANNED].id)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A check that does not apply ends before its fixtures, and so before any server."""
    if item.stash[PLANNED].skip:
        pytest.skip(item.stash[PLANNED].skip)
    conductor, identity = item.config.stash[CONDUCTOR], item.stash[PLANNED].id
    if why := conductor.needless(identity):
        pytest.skip(why)
    if "start" not in getattr(item, "fixturenames", ()):
        conductor.prepare(identity)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Give the mutants of this check their turn."""
    with item.config.stash[CONDUCTOR].judging(item.stash[PLANNED].id):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """How a case ended becomes the outcome of its check."""
    report = yield
    if call.when == "call" or (call.when == "setup" and call.excinfo is not None):
        conductor = item.config.stash[CONDUCTOR]
        verdict = verdict_of(item.stash.get(JUDGE, None), call)
        with _fatal(conductor):
            check = conductor.ended(item.stash[PLANNED].id, verdict)
        if check is not None:
            tell(report, item, check)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The run ends, however it came to that."""
    conductor = session.config.stash.get(CONDUCTOR, None)
    if conductor is None:
        return
    code = conductor.end(interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)
    session.exitstatus = exitstatus if code is None else int(code)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Where the report is, for those who call pytest themselves."""
    conductor = config.stash.get(CONDUCTOR, None)
    if conductor is not None and conductor.context is not None:
        run = conductor.context.run
        counts = ", ".join(f"{count} {outcome}" for outcome, count in run.counts().items())
        terminalreporter.write_line(f"mm-lora: {counts or 'none judged'}  {run.note}".rstrip())
        terminalreporter.write_line(f"report: {conductor.context.folder.path}")


@pytest.fixture(scope="session")
def context(request: pytest.FixtureRequest) -> Context:
    """The run's workshop."""
    found = request.config.stash[CONDUCTOR].context
    assert found is not None
    return found


@pytest.fixture
def check(request: pytest.FixtureRequest) -> Judge:
    """The judge of this check, with what its server's noise allows."""
    judge = request.config.stash[CONDUCTOR].judge(request.node.stash[PLANNED].id)
    request.node.stash[JUDGE] = judge
    return judge


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Served:
    """The server of this check, running."""
    found = request.config.stash[CONDUCTOR].prepare(request.node.stash[PLANNED].id)
    if found is None:
        raise ValueError("the case uses `served` without @pytest.mark.server")
    return found


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[[], Served]:
    """Starts the server of this check, for a case that judges whether it does."""
    conductor, check_id = request.config.stash[CONDUCTOR], request.node.stash[PLANNED].id

    def begin() -> Served:
        found = conductor.prepare(check_id)
        assert found is not None
        return found

    return begin


@contextmanager
def _fatal(conductor: Conductor) -> Iterator[None]:
    """What no check can be blamed for ends the session with its exit code."""
    try:
        yield
    except MmLoraError as error:
        conductor.fatal = error
        pytest.exit(str(error), returncode=int(error.exit_code))
