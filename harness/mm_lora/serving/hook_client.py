"""Asks vLLM's model class, in the server's interpreter, and returns typed answers.

No weights and no server: a short process, ended after a time limit.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from mm_lora.core.errors import TroubleError
from mm_lora.families.family import VllmClass
from mm_lora.families.flow import HookCase
from mm_lora.serving.server.child import Child, started
from mm_lora.serving.server.command import DEFAULT_ENVIRONMENT, HOOKS_MODULE
from mm_lora.serving.server.diagnose import describe_exit
from mm_lora.serving.server.inside_folder import write_plugin_folder

_END_S = 5.0
_TAIL = 15

Launch = Callable[[Sequence[str], Path, Path], Child]
"""Starts a command with the plugin in that folder, in the folder of the log, which exists."""


@dataclass(frozen=True)
class HookQuestion:
    """One model: its config, the module paths to place, the media to count."""

    name: str
    config: Mapping[str, Any]
    paths: tuple[str, ...]
    cases: tuple[HookCase, ...]


@dataclass(frozen=True)
class HookCount:
    """What the count hook said for so many `tokens`, or the exception that it `raised`."""

    tokens: int
    tower: int | None = None
    connector: int | None = None
    raised: str = ""


@dataclass(frozen=True)
class HookAnswer:
    """What vLLM says of one model.

    `mapping`: its module prefixes under language_model, connector and tower_model. `wrappers`:
    module path → "tower", "connector", "language" or None, by vLLM's own prefix rule.
    """

    name: str
    mapping: Mapping[str, tuple[str, ...]] | None
    wrappers: Mapping[str, str | None]
    counts: tuple[HookCount, ...]


@dataclass(frozen=True)
class HookAnswers:
    """All answers of one interpreter.

    `generation`: "counts" (one hook, vLLM ≥ 0.30), "pair" (two hooks, 0.17 – 0.28) or None.
    `flag`: the class's capability flag; None where this vLLM has no such flag.
    `missing`: hook points that are gone, by name.
    """

    vllm: str
    generation: str | None
    flag: bool | None
    missing: tuple[str, ...]
    models: Mapping[str, HookAnswer] = field(default_factory=dict)


def ask_hooks(
    python: Path,
    vllm: VllmClass,
    questions: Sequence[HookQuestion],
    *,
    patches: Sequence[str] = (),
    search: Sequence[Path] = (),
    timeout_s: float = 180,
    say: Callable[[str], None] = lambda line: None,
    launch: Launch | None = None,
    folder: Path | None = None,
) -> HookAnswers:
    """Ask the vLLM of interpreter `python`; TroubleError with its last lines if it cannot.

    `patches`: what to put into its class first: the feature, or a seeded mistake that the
    comparison must find. `search`: folders in front of PYTHONPATH. `launch`: how the process is
    started; without it, alone. `folder`: made for its files, which are removed without it.
    """
    document = {
        "models": [
            {
                "name": question.name,
                "config": dict(question.config),
                "paths": list(question.paths),
                "cases": [
                    {"tokens": case.tokens, "medium": case.medium, "shapes": dict(case.shapes)}
                    for case in question.cases
                ],
            }
            for question in questions
        ],
        "patches": list(patches),
        "class": asdict(vllm),
    }
    say(f"asking vLLM's {vllm.name} about {len(questions)} configs: {python} -m {HOOKS_MODULE}")
    with contextlib.ExitStack() as kept:
        if folder is None:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="mm-lora-hooks-")))
        folder.mkdir(parents=True, exist_ok=True)
        question, answer, log = (folder / name for name in ("question", "answer", "log"))
        question.write_text(json.dumps(document), encoding="utf-8")
        log.touch()
        command = [os.path.abspath(python), "-m", HOOKS_MODULE, str(question), str(answer)]
        process = (launch or alone(search))(command, write_plugin_folder(folder / "plugin"), log)
        _wait(process, python, log, timeout_s)
        return parse(json.loads(answer.read_text(encoding="utf-8")))


def alone(search: Sequence[Path] = ()) -> Launch:
    """A fresh process for each question. `search`: folders in front of PYTHONPATH."""

    def launch(command: Sequence[str], plugin: Path, log: Path) -> Child:
        folders = filter(None, (*map(str, (plugin, *search)), os.environ.get("PYTHONPATH")))
        changes = {**DEFAULT_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(folders)}
        return started(command, {**os.environ, **changes}, log, ())

    return launch


def parse(answer: Mapping[str, Any]) -> HookAnswers:
    """The JSON of `inside/hook_query.py`, typed. TroubleError for another shape."""
    absent = {"generation": None, "flag": None}  # where vLLM lacks the class itself
    try:
        by_name = {model["name"]: model for model in answer["models"]}
        return msgspec.convert({**absent, **answer, "models": by_name}, HookAnswers)
    except (KeyError, msgspec.ValidationError) as error:
        raise TroubleError(f"vLLM's model class answered with an error: {error}") from error


def _kill(process: Child) -> None:
    """End it with all that it started, whatever it is doing: it leads a group of its own."""
    if process.pid is None:  # not forked yet
        process.terminate()
    else:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)


def _wait(process: Child, python: Path, log: Path, timeout_s: float) -> None:
    check = f"that `{python} -c 'import vllm'` works"
    try:
        code = process.wait(timeout_s)
    except BaseException as error:
        _kill(process)
        if isinstance(error, subprocess.TimeoutExpired):
            raise TroubleError(
                f"vLLM's model class did not answer within {timeout_s:.0f} s", check
            ) from error
        raise
    if code != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        tail = "\n".join(said[-_TAIL:])
        raise TroubleError(
            f"asking vLLM's model class ended {describe_exit(code)}:\n{tail}",
            check,
        )
