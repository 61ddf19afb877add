"""Runs the question to vLLM's Llama 4 class in the server's interpreter and returns typed answers.

No weights and no server: a short process of its own, in its own group, ended after a time limit.
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_lora.core.errors import TroubleError
from mm_lora.families.llama4.geometry import Geometry
from mm_lora.serving.server.inside_folder import PACKAGE, copy_package

MODULE = f"{PACKAGE}.families.llama4.hook_query"
ONE_OF_EACH = (
    "vision_model.patch_embedding.linear",
    "vision_model.model.layers.33.self_attn.qkv_proj",
    "vision_model.model.layers.0.mlp.fc2",
    "vision_model.vision_adapter.mlp.fc1",
    "vision_model.vision_adapter.mlp.fc2",
    "multi_modal_projector.linear_1",
    "language_model.model.layers.47.self_attn.o_proj",
)
"""A module of every group, as vLLM names them: what its prefix rule is asked about."""


@dataclass(frozen=True)
class HookQuestion:
    """One model: its config, the module paths to place, the numbers of image tokens to count."""

    name: str
    config: Mapping[str, Any]
    paths: tuple[str, ...]
    embeds: tuple[int, ...]


@dataclass(frozen=True)
class HookCount:
    """What the count hook said for `embeds` image tokens, or the exception that it `raised`."""

    embeds: int
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


def count_inputs(geometry: Geometry) -> tuple[int, ...]:
    """Image tokens of 1 … max_chunks + 1 whole chunks."""
    return tuple(n * geometry.connector_rows for n in range(1, geometry.max_chunks + 2))


def odd_inputs(geometry: Geometry) -> tuple[int, ...]:
    """Numbers that no picture has: zero, negative, and no multiple of a chunk."""
    chunk = geometry.connector_rows
    return (0, -1, -chunk, 1, chunk - 1, chunk + 1, 2 * chunk - 1, 7 * chunk + 1)


def ask_hooks(
    python: Path,
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
    asked = {
        "models": [
            {
                "name": question.name,
                "config": dict(question.config),
                "paths": list(question.paths),
                "embeds": list(question.embeds),
            }
            for question in questions
        ],
        "patches": list(patches),
    }
    say(f"asking vLLM's Llama 4 class about {len(questions)} configs: {python} -m {MODULE}")
    with tempfile.TemporaryDirectory(prefix="mm-lora-hooks-") as folder:
        copy_package(Path(folder))
        out = _run(python, json.dumps(asked), [folder, *map(str, search)], timeout_s)
    return parse(json.loads(out))


def parse(answer: Mapping[str, Any]) -> HookAnswers:
    """The JSON of `inside/llama4/hook_query.py`, typed."""
    models = {}
    for model in answer["models"]:
        mapping = model["mapping"]
        models[model["name"]] = HookAnswer(
            name=model["name"],
            mapping=mapping and {kind: tuple(prefixes) for kind, prefixes in mapping.items()},
            wrappers=dict(model["wrappers"]),
            counts=tuple(HookCount(**count) for count in model["counts"]),
        )
    return HookAnswers(
        vllm=answer["vllm"],
        generation=answer.get("generation"),
        flag=answer.get("flag"),
        missing=tuple(answer["missing"]),
        models=models,
    )


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
                f"vLLM's Llama 4 class did not answer in {timeout_s:.0f} s",
                f"that `{python} -c 'import vllm'` works",
            ) from error
        raise
    if process.returncode != 0:
        tail = "\n".join(err.strip().splitlines()[-15:])
        raise TroubleError(
            f"asking vLLM's Llama 4 class ended with code {process.returncode}:\n{tail}",
            f"that `{python} -c 'import vllm'` works",
        )
    return out
