"""Checks before anything starts that this machine has a profile's GPUs, memory and weights."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from mm_lora.core import hub_cache
from mm_lora.core.errors import TroubleError
from mm_lora.families.models import Model
from mm_lora.install.machine import nearest_existing
from mm_lora.run.profiles import Profile
from mm_lora.serving import gpus, hub
from mm_lora.serving.gpus import Gpu

Say = Callable[[str], None]

NO_GPU = "the driver, and that a container is given its GPUs; without one: --profile rehearsal"
_SHARE = 0.9
"""Of a GPU's memory that vLLM takes unless the flag says otherwise."""


def require_gpus(profile: Profile, found: list[Gpu]) -> None:
    """Raise TroubleError for too few GPUs, too small ones, or ones that somebody uses."""
    needs = profile.needs
    if not needs.gpus:
        return
    wanted = f"profile {profile.name} needs {needs.gpus} GPUs"
    if needs.gpu_memory_gb:
        wanted += f" of {needs.gpu_memory_gb} GB"
    if not found:
        raise TroubleError(f"{wanted}; this machine has no NVIDIA GPU that can be seen", NO_GPU)
    large = [gpu for gpu in found if gpu.memory_gb >= needs.gpu_memory_gb]
    if len(found) < needs.gpus:
        raise TroubleError(
            f"{wanted}; {len(found)} can be seen: {_listed(found)}",
            "CUDA_VISIBLE_DEVICES, or a profile with another tensor-parallel-size",
        )
    if len(large) < needs.gpus:
        raise TroubleError(
            f"{wanted}; here are {_listed(found)}", "a profile with more and smaller shards"
        )
    share = float(str(profile.flags.get("gpu-memory-utilization", _SHARE)))
    used = [gpu for gpu in large[: needs.gpus] if gpu.free_gb < share * gpu.memory_gb]
    if used:
        raise TroubleError(
            f"{wanted}, and vLLM wants {share:.0%} of each free; "
            + ", ".join(f"GPU {gpu.index} has {gpu.free_gb:.0f} GB free" for gpu in used),
            "`nvidia-smi`: which processes hold the memory",
        )


def require_driver(driver: str | None, torch_cuda: str | None) -> None:
    """Raise TroubleError where the driver's newest CUDA is older than that of the server's torch.

    Within one major version CUDA promises that an older driver will do.
    """
    if driver and torch_cuda and int(driver.split(".")[0]) < int(torch_cuda.split(".")[0]):
        raise TroubleError(
            f"the driver runs CUDA {driver} at most; the server's torch was built for {torch_cuda}",
            "a newer NVIDIA driver, or a vLLM that was built for this CUDA: --server-python",
        )


def require_weights(profile: Profile, models: Iterable[Model], say: Say) -> None:
    """Say what will be downloaded; raise TroubleError where it will not fit or is refused."""
    for model in models:
        if not model.repository or model.weights is not None:
            continue
        size, place = profile.needs.download_gb, hub_cache.cache_folder()
        say(f"{model.repository} is not on this disk: about {size} GB to download into {place}")
        free = shutil.disk_usage(nearest_existing(place)).free / 1e9
        if free < size:
            raise TroubleError(
                f"{place} has {free:.0f} GB free, and the model takes about {size} GB",
                "HF_HOME on a larger disk, or --model FOLDER with the weights",
            )
        hub.require_access(model.repository, model.revision)


def torch_cuda(python: Path) -> str | None:
    """The CUDA that an interpreter's torch was built for, from its files; None where unknown."""
    for file in python.absolute().parent.parent.glob("lib/python3*/site-packages/torch/version.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("cuda") and "'" in line:
                return line.split("'")[1]
    return None


def require(profile: Profile, models: Iterable[Model], server_python: Path, say: Say) -> None:
    """Everything, cheapest first: no GPU is said at once."""
    if profile.needs.gpus:
        require_gpus(profile, gpus.read())
        require_driver(gpus.cuda_of_driver(), torch_cuda(server_python))
    require_weights(profile, models, say)


def _listed(found: list[Gpu]) -> str:
    return ", ".join(f"{gpu.name} ({gpu.memory_gb:.0f} GB)" for gpu in found)
