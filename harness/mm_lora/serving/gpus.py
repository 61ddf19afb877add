"""The NVIDIA GPUs that a server would see, from nvidia-smi, without importing torch."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mm_lora.core.errors import TroubleError

QUERY = "index,name,memory.total,memory.free,driver_version"
Run = Callable[[Sequence[str]], str]
_PATIENCE_S = 4
_DEVICE = re.compile(r"nvidia\d+")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU. Memory in GB (10^9 bytes), all of it and what is free now."""

    index: int
    name: str
    memory_gb: float
    free_gb: float
    driver: str

    def __str__(self) -> str:
        return f"{self.name}, {self.memory_gb:.0f} GB"


def read(run: Run | None = None, environment: Mapping[str, str] | None = None) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves; none without nvidia-smi.

    Raises TroubleError with nvidia-smi's own words where it fails: a driver that does not work.
    """
    if run is None and shutil.which("nvidia-smi") is None:
        return []
    said = (run or _run)(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"])
    return visible(parse(said), os.environ if environment is None else environment)


def parse(said: str) -> list[Gpu]:
    """The GPUs of nvidia-smi's CSV, whose memory is in MiB. Raises TroubleError for other text."""
    found = []
    for line in filter(None, map(str.strip, said.splitlines())):
        fields = [field.strip() for field in line.split(",")]
        try:
            index, name, total, free, driver = fields
            memory, left = (int(value) * 2**20 / 1e9 for value in (total, free))
            found.append(
                Gpu(index=int(index), name=name, memory_gb=memory, free_gb=left, driver=driver)
            )
        except ValueError:
            raise TroubleError(
                f"nvidia-smi answers '{line}'", "the NVIDIA driver: run `nvidia-smi`"
            ) from None
    return found


def visible(gpus: Sequence[Gpu], environment: Mapping[str, str]) -> list[Gpu]:
    """Those that CUDA_VISIBLE_DEVICES names by number; all where it is unset or names them else."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None or re.search(r"[^\d,\s-]", named):
        return list(gpus)
    wanted = [int(word) for word in named.split(",") if word.strip().isdigit()]
    return [gpu for gpu in gpus if gpu.index in wanted]


def devices(folder: str = "/dev") -> list[str]:
    """The GPUs' device files: they are there without nvidia-smi, too."""
    return sorted(f"{folder}/{name}" for name in os.listdir(folder) if _DEVICE.fullmatch(name))


def cuda_of_driver(run: Run | None = None) -> str | None:
    """The newest CUDA that the driver runs, as nvidia-smi's header says it; None if it does not."""
    match = re.search(r"CUDA Version:\s*([\d.]+)", (run or _run)(["nvidia-smi"]))
    return match[1] if match else None


def _run(command: Sequence[str]) -> str:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TroubleError(
            f"nvidia-smi does not answer: {type(error).__name__}", "the NVIDIA driver"
        ) from error
    if answer.returncode:
        said = " ".join((answer.stdout + answer.stderr).split())[:300]
        raise TroubleError(
            f"nvidia-smi fails: {said}",
            "the driver of the kernel that runs; in a container, that it was given its GPUs",
        )
    return answer.stdout
