"""The worker's jobs by name; each is imported when it is first asked for."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

JOBS: Mapping[str, str] = {
    "versions": "mm_lora.truth.worker.versions:run",
    "checkpoint": "mm_lora.truth.worker.checkpoint:run",
    "adapter": "mm_lora.truth.worker.adapter_files:run",
    "linear-modules": "mm_lora.truth.worker.linear_modules:run",
    "processor-counts": "mm_lora.truth.worker.processor_counts:run",
    "embeds": "mm_lora.truth.worker.embeds:run",
    "reference": "mm_lora.truth.worker.reference:run",
}


def load(kind: str) -> Callable[..., Mapping[str, Any]]:
    """The function of a job; KeyError for an unknown kind."""
    module, _, function = JOBS[kind].partition(":")
    job: Callable[..., Mapping[str, Any]] = getattr(importlib.import_module(module), function)
    return job
