"""What the bench measures, each in a function of its own that returns rows."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from mm_lora import adapter_sets, profiles
from mm_lora.adapters import STANDARD
from mm_lora.asking import DICE_QUESTION, Picture, Request
from mm_lora.bench.memory import run_sampled
from mm_lora.bench.rows import Row, from_report, median_ratio
from mm_lora.build import Builder
from mm_lora.client import Client
from mm_lora.errors import TroubleError
from mm_lora.models import resolve
from mm_lora.options import RunOptions
from mm_lora.plan import Wish, server_spec
from mm_lora.resources import cache_dir, harness_dir
from mm_lora.server.process import VllmServer
from mm_lora.server.spec import BASE

PYTHON = Path(sys.executable)
ADAPTERS = tuple(name for name in STANDARD if name != "patch-embedding")
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
    tool = [str(PYTHON), "-m", "mm_lora.cli"]
    bare = best([str(PYTHON), "-c", BARE])
    shown = best([*tool, "--help"]) / bare
    listed = best([*tool, "list"], 3) / bare
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
    return [Row(name="set-up, second call", value=seconds, unit="s")]


def building(say: Callable[[str], None]) -> list[Row]:
    """Checkpoint and standard adapters of the miniature, built anew in an empty cache."""
    began = time.monotonic()
    with Builder(PYTHON, say) as builder:
        builder.checkpoint(resolve("scout"))
        checkpoint = time.monotonic() - began
        builder.adapters(resolve("scout"), [adapter_sets.named(name) for name in ADAPTERS])
    return [
        Row(name="build checkpoint, worker's imports included", value=checkpoint, unit="s"),
        Row(
            name=f"build {len(ADAPTERS)} adapters",
            value=time.monotonic() - began - checkpoint,
            unit="s",
        ),
    ]


def server(start: str, *, probe: bool = False, say: Callable[[str], None]) -> VllmServer:
    """The dice checks' server, not started."""
    profile = profiles.load("cpu")
    options = RunOptions(settings={"start": start})
    spec = server_spec(Wish(model="scout", probe=probe), ADAPTERS, profile, options)
    with Builder(PYTHON, say) as builder:
        scout = resolve("scout")
        built = builder.adapters(scout, [adapter_sets.named(name) for name in ADAPTERS])
        checkpoint = builder.checkpoint(scout)
    return VllmServer(
        spec,
        python=PYTHON,
        checkpoint=checkpoint,
        adapters={name: adapter.path for name, adapter in built.items()},
        folder=Path(tempfile.mkdtemp(prefix="server-", dir=cache_dir())),
        ready_timeout_s=profile.ready_timeout_s,
    )


def one_server(start: str, say: Callable[[str], None]) -> tuple[list[Row], float, float]:
    """A server start with one answer: its rows, seconds until ready, seconds with that answer."""
    running = server(start, say=say)
    began = time.monotonic()
    with running:
        ready = time.monotonic() - began
        client = Client(running.base_url, 120)
        client.ask(Request(model=BASE, text=DICE_QUESTION, pictures=(DICE,)))
        answered = time.monotonic() - began
        ended = time.monotonic()
    stopped = time.monotonic() - ended
    if start != "auto" and running.start_mode != start:
        raise TroubleError(f"asked for a {start} start, got a {running.start_mode} one")
    rows = [
        Row(name=f"{start} start until ready", value=ready, unit="s"),
        Row(name=f"{start} start: first answer", value=answered - ready, unit="s"),
        Row(name=f"{start} start: stop", value=stopped, unit="s"),
    ]
    return rows, ready, answered


def verify(
    arguments: Iterable[str], plain_s: float, *, aim: float | None = None, note: str = ""
) -> list[Row]:
    """A real `mm-lora verify`: its parts, its time beside a plain start, its memory."""
    words = list(arguments)
    with tempfile.TemporaryDirectory(prefix="mm-lora-bench-") as reports:
        command = [str(PYTHON), "-m", "mm_lora.cli", "verify", "--reports", reports, *words]
        began = time.monotonic()
        code, output, peak = run_sampled(command)
        seconds = time.monotonic() - began
        if code:
            raise TroubleError(f"verify ended with {code}", output[-2000:])
        report = json.loads(Path(reports, "latest", "report.json").read_text(encoding="utf-8"))
    name = " ".join(["verify", *words])
    return [
        *from_report(report),
        Row(name=f"`{name}`", value=seconds, unit="s", note=note),
        Row(
            name=f"`{name}` / one plain start with one answer",
            value=seconds / plain_s,
            unit="×",
            aim=aim,
            note=note,
        ),
        Row(name="harness process, most", value=peak.own / 1e6, unit="MB", aim=150),
        Row(name="whole run, most", value=peak.tree / 1e6, unit="MB", aim=4000),
    ]


def probe_cost(say: Callable[[str], None], rounds: int = 20) -> list[Row]:
    """The same requests in turn with and without the row probe; the answers must be the same."""
    requests = [
        Request(model=name, text=f"{DICE_QUESTION} {n}", pictures=(DICE,))
        for n in range(rounds)
        for name in (BASE, "all")
    ]
    pairs = []
    with server("auto", probe=True, say=say) as probed, server("auto", say=say) as bare:
        clients = [Client(one.base_url, 120) for one in (probed, bare)]
        for client in clients:
            client.ask(requests[0])
        for request in requests:
            seconds, answers = [], []
            for client in clients:
                began = time.monotonic()
                answers.append(client.ask(request))
                seconds.append(time.monotonic() - began)
            if answers[0].logprobs != answers[1].logprobs:
                raise TroubleError(f"the probe changes an answer of '{request.model}'")
            pairs.append((seconds[0], seconds[1]))
    note = f"{len(requests)} requests, answers bit-identical"
    return [
        Row(
            name="answer with probe / without, median",
            value=median_ratio(pairs),
            unit="×",
            aim=1.03,
            note=note,
        )
    ]
