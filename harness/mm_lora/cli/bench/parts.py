"""What the bench measures, each in a function of its own that returns rows."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from mm_lora.adapters import sets as adapter_sets
from mm_lora.checks.roles import everyone
from mm_lora.cli.bench.memory import Peak, run_sampled
from mm_lora.cli.bench.rows import Row, median_ratio, middle_half
from mm_lora.core.asking import BASE, DICE_QUESTION, Answer, Picture, Request
from mm_lora.core.errors import TroubleError
from mm_lora.core.resources import cache_dir, harness_dir
from mm_lora.families import registry
from mm_lora.run.builds import Builds
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Wish, family_flags, server_spec
from mm_lora.run.recipe import recipe
from mm_lora.run.settings import Settings
from mm_lora.serving.client import Client
from mm_lora.serving.server.process import VllmServer
from mm_lora.truth.build import Builder

PYTHON = Path(sys.executable)
MODEL = next(iter(Inputs.read(RunOptions()).models.values()))
OTHER = next(
    family.published[0]
    for family in registry.families().values()
    if family.name != MODEL.family.name
)
ADAPTERS = everyone(MODEL.family)
BARE = "import typer, rich.console, rich.table"
DICE = Picture(width=336, height=336)


def best(command: list[str], times: int = 5) -> float:
    """The shortest of several runs of a command, in seconds. TroubleError if one fails."""
    found = []
    for _ in range(times):
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, check=False)
        found.append(time.monotonic() - began)
        if done.returncode:
            raise TroubleError(f"{' '.join(command)} ended with {done.returncode}")
    return min(found)


def command_line() -> list[Row]:
    """How much `--help` and `list` cost beside the imports that they cannot do without."""
    tool = [str(PYTHON), "-m", "mm_lora"]
    bare = best([str(PYTHON), "-c", BARE])
    shown = best([*tool, "--help"]) / bare
    listed = best([*tool, "list"]) / bare
    return [
        Row(name="importing typer and rich", value=bare, unit="s"),
        Row(name="`--help` / that import", value=shown, unit="×", aim=3),
        Row(name="`list` / that import", value=listed, unit="×", aim=15),
    ]


def set_up() -> list[Row]:
    """A second call of the set-up, which does nothing; where there is a source tree to set up."""
    install = harness_dir() / "mm_lora" / "install"
    if not (harness_dir().parent / "Makefile").exists():
        return []
    seconds = best([str(PYTHON), str(install), "--venv", sys.prefix], 3)
    return [Row(name="second call of `make setup`, which does nothing", value=seconds, unit="s")]


def building(say: Callable[[str], None]) -> list[Row]:
    """Checkpoint and standard adapters of the miniature, built anew in an empty cache."""
    began = time.monotonic()
    with Builder(PYTHON, say) as builder:
        builder.checkpoint(MODEL)
        checkpoint = time.monotonic() - began
        builder.adapters(MODEL, [adapter_sets.named(MODEL.family, name) for name in ADAPTERS])
    return [
        Row(
            name="build checkpoint, worker's imports included",
            value=checkpoint,
            unit="s",
            key="build_checkpoint",
        ),
        Row(
            name=f"build {len(ADAPTERS)} adapters",
            value=time.monotonic() - began - checkpoint,
            unit="s",
            key="build_adapters",
        ),
    ]


@cache
def stock(say: Callable[[str], None]) -> Builds:
    """Checkpoint and adapters from the cache; asked once, since the worker's imports take long."""
    return Builds(Inputs.read(RunOptions()), say)


def server(start: str, *, probe: bool = False, say: Callable[[str], None]) -> VllmServer:
    """The dice checks' server, not started."""
    builds, options = stock(say), RunOptions(settings=Settings(start=start))
    inputs = builds.inputs
    wish = Wish(model=MODEL.name, probe=probe, defaults=family_flags(MODEL.family))
    spec = server_spec(wish, ADAPTERS, inputs.profile, options)
    folder = Path(tempfile.mkdtemp(prefix="server-", dir=cache_dir()))
    prepared = recipe(spec, inputs, builds.vllm, builds, folder).cook()
    builds.close()
    return prepared.server(folder)


def one_server(start: str, say: Callable[[str], None]) -> tuple[list[Row], float, float]:
    """A server start with one answer: its rows, seconds until ready, seconds with that answer."""
    running = server(start, say=say)
    began = time.monotonic()
    with running:
        ready = time.monotonic() - began
        with closing(Client(running.base_url, 120)) as client:
            client.ask(Request(model=BASE, text=DICE_QUESTION, pictures=(DICE,)))
        answered = time.monotonic() - began
        ended = time.monotonic()
    stopped = time.monotonic() - ended
    if start != "auto" and running.start_mode != start:
        raise TroubleError(f"asked for a {start} start, got a {running.start_mode} one")
    rows = [
        Row(name=f"{start} start until ready", value=ready, unit="s", key=f"{start}_start"),
        Row(name=f"{start} start: first answer", value=answered - ready, unit="s"),
        Row(name=f"{start} start: stop", value=stopped, unit="s"),
    ]
    return rows, ready, answered


@dataclass(frozen=True)
class Verified:
    """A real `mm-lora verify` that ended: its words, wall seconds, peak of memory, report."""

    name: str
    seconds: float
    peak: Peak
    report: dict[str, Any]


def verify(arguments: Sequence[str], runs: Path) -> Verified:
    """Run it as a user would. Its outcome is noted, not judged; TroubleError without a report."""
    command = [str(PYTHON), "-m", "mm_lora", "verify", "--reports", str(runs), *arguments]
    began_at = datetime.now(UTC)
    began = time.monotonic()
    code, output, peak = run_sampled(command)
    seconds = time.monotonic() - began
    file = runs / "latest" / "report.json"
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = {}
    fresh = report and datetime.fromisoformat(report["started"]) >= began_at.replace(microsecond=0)
    if not fresh or not report["finished"] or not report["checks"]:
        raise TroubleError(f"verify ended with {code} and no report: {output[-2000:]}")
    return Verified(" ".join(["verify", *arguments]), seconds, peak, report)


def beside(
    run: Verified, plain_s: float, note: str = "", *, aim: float | None = None, key: str = ""
) -> list[Row]:
    """The whole command's time, and its ratio to a plain start with one answer, `key`."""
    servers = len(run.report["servers"])
    notes = [f"{len(run.report['checks'])} checks, {servers} server{'s' * (servers != 1)}", note]
    if run.report["exit_code"]:
        notes.append(f"ended with {run.report['exit_code']}")
    told = ", ".join(filter(None, notes))
    ratio = run.seconds / plain_s
    inside = run.report["duration_s"]
    return [
        Row(name=f"`{run.name}`", value=run.seconds, unit="s", note=told),
        Row(name="of it before and after the run itself", value=run.seconds - inside, unit="s"),
        Row(
            name=f"`{run.name}` / one plain start with one answer",
            value=ratio,
            unit="×",
            aim=aim,
            note=note,
            key=key,
        ),
    ]


def added(one: Verified, two: Verified, plain_s: float) -> Row:
    """What one more family costs a run, beside a plain start with one answer."""
    ratio = (two.seconds - one.seconds) / plain_s
    name = "one more family / one plain start with one answer"
    return Row(name=name, value=ratio, unit="×", aim=1.2, note=two.name, key="added_family")


def overhead(run: Verified, plain_s: float) -> Row:
    """The time of a run beyond its first server's start, for each check, in plain starts."""
    ready = run.report["servers"][0]["ready_s"]
    ratio = (run.seconds - ready) / len(run.report["checks"]) / plain_s
    name = "a check, its server running / one plain start with one answer"
    return Row(name=name, value=ratio, unit="×", key="overhead_per_check")


def later(run: Verified, plain_ready_s: float) -> Row | None:
    """The median start of a run's servers after the first, beside a plain start until ready."""
    starts = [one["ready_s"] for one in run.report["servers"][1:] if one["ready_s"]]
    if not starts:
        return None
    value = statistics.median(starts) / plain_ready_s
    note = f"{len(starts)} servers of `{run.name}`"
    name = "a later start / one plain start"
    return Row(name=name, value=value, unit="×", aim=0.15, note=note, key="later_start")


def memory(run: Verified) -> list[Row]:
    """The most memory of a run with one server."""
    return [
        Row(
            name="harness process, peak RSS",
            value=run.peak.own / 1e6,
            unit="MB",
            aim=150,
            key="tool",
        ),
        Row(
            name="whole run with one server, peak PSS",
            value=run.peak.tree / 1e6,
            unit="MB",
            aim=4000,
            note=f"{run.peak.samples} samples of the process tree",
            key="run",
        ),
    ]


def probe_cost(say: Callable[[str], None], rounds: int = 20) -> list[Row]:
    """The same requests in turn with and without the row probe; the answers must be the same.

    Every other pair begins with the other server: the threads of the one that has just answered
    spin for a while and slow the next.
    """
    requests = [
        Request(model=name, text=f"{DICE_QUESTION} {n}", pictures=(DICE,))
        for n in range(rounds)
        for name in (BASE, "all")
    ]
    with ExitStack() as stack:
        clients = []
        for probe in (True, False):
            running = stack.enter_context(server("auto", probe=probe, say=say))
            clients.append(stack.enter_context(closing(Client(running.base_url, 120))))
        for request in requests[:2]:  # the first picture of each model takes seconds
            for client in clients:
                client.ask(request)
        pairs, differing = [], 0
        for number, request in enumerate(requests[2:]):
            took: dict[int, tuple[float, Answer]] = {}
            for side in (0, 1) if number // 2 % 2 else (1, 0):
                began = time.monotonic()
                answer = clients[side].ask(request)
                took[side] = (time.monotonic() - began, answer)
            differing += not same(took[0][1], took[1][1])
            pairs.append((took[0][0], took[1][0]))
    low, high = middle_half(pairs)
    return [
        Row(
            name="answer with probe / without, median",
            value=median_ratio(pairs),
            unit="×",
            aim=1.03,
            note=f"{len(pairs)} pairs of requests, the middle half {low:.2f} – {high:.2f}",
        ),
        Row(
            name="answers that the probe changes",
            value=differing,
            unit=f"of {len(pairs)}",
            aim=0,
            note="tokens and logprobs, to the last bit",
        ),
    ]


def same(one: Answer, other: Answer) -> bool:
    """Both are good answers with the same tokens and logprobs, bit for bit."""
    return (
        one.status == other.status == 200
        and bool(one.token_ids)
        and (one.token_ids, one.logprobs) == (other.token_ids, other.logprobs)
    )
