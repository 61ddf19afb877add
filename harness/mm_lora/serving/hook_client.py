"""Asks vLLM's model class, in the server's interpreter, and returns typed answers.

No weights and no server: a short process of its own, in its own group, ended after a time limit.
"""

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
from mm_lora.serving.server.inside_folder import PACKAGE, copy_package

MODULE = f"{PACKAGE}.hook_query"


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
) -> HookAnswers:
    """Ask the vLLM of interpreter `python`; TroubleError with its last lines if it cannot.

    `patches`: what to put into its class first: the feature, or a seeded mistake that the
    comparison must find. `search`: folders in front of PYTHONPATH.
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
    say(f"asking vLLM's {vllm.name} about {len(questions)} configs: {python} -m {MODULE}")
    with tempfile.TemporaryDirectory(prefix="mm-lora-hooks-") as folder:
        copy_package(Path(folder))
        out = _run(python, json.dumps(document), [folder, *map(str, search)], timeout_s)
    return parse(json.loads(out))


def parse(answer: Mapping[str, Any]) -> HookAnswers:
    """The JSON of `inside/hook_query.py`, typed. TroubleError for another shape."""
    absent = {"generation": None, "flag": None}  # where vLLM lacks the class itself
    try:
        by_name = {model["name"]: model for model in answer["models"]}
        return msgspec.convert({**absent, **answer, "models": by_name}, HookAnswers)
    except (KeyError, msgspec.ValidationError) as error:
        raise TroubleError(f"vLLM's model class answered with an error: {error}") from error


def _run(python: Path, question: str, folders: Sequence[str], timeout_s: float) -> str:
    search = os.pathsep.join(filter(None, (*folders, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [str(python), "-m", MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": search,
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        },
        start_new_session=True,
    )
    try:
        out, err = process.communicate(question, timeout=timeout_s)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TroubleError(
                f"vLLM's model class did not answer within {timeout_s:.0f} s",
                f"that `{python} -c 'import vllm'` works",
            ) from error
        raise
    if process.returncode != 0:
        tail = "\n".join(err.strip().splitlines()[-15:])
        raise TroubleError(
            f"asking vLLM's model class ended with code {process.returncode}:\n{tail}",
            f"that `{python} -c 'import vllm'` works",
        )
    return out
