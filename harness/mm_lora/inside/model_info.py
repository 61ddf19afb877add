"""Compat: what a model class can do is read in the process that asks, not in a fresh interpreter.

vLLM starts one that imports vLLM anew, so that CUDA is not initialized in the API server, and keeps
what it read in a cache: the first server of each class, on a fresh machine of each family, waits
for that import. On a CPU there is no CUDA, and the API server imports the class all the same, for
its processor.
"""

from typing import Any

from .registry import Patch


def _here(original: Any) -> Any:
    def _run_in_subprocess(fn: Any) -> Any:
        return fn()

    return _run_in_subprocess


PATCH = Patch(
    id="cpu-model-info-here",
    kind="compat",
    platform="cpu",
    wraps={"vllm.model_executor.models.registry:_run_in_subprocess": _here},
    reason="the first server of each model class imports vLLM once more, in a process of its own, "
    "to see what the class can do",
)
