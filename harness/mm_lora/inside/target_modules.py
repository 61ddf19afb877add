"""Compat: gives a vLLM without --lora-target-modules the same choice, from the environment."""

import os
from typing import Any

from .registry import Patch

VARIABLE = "MM_LORA_TARGET_MODULES"
"""The module names that may be wrapped, with spaces between; without it all are, as ever."""


def _wrapped(original: Any) -> Any:
    wanted = set(os.environ.get(VARIABLE, "").split())

    def match_target_modules(self: Any, module_name: str) -> Any:
        return module_name.rpartition(".")[2] in wanted and original(self, module_name)

    return match_target_modules if wanted else original


PATCH = Patch(
    id="lora-target-modules",
    kind="compat",
    versions="<0.20",
    wraps={"vllm.lora.model_manager:LoRAModelManager._match_target_modules": _wrapped},
    reason="this vLLM wraps every module that it can: the experts, whose LoRA layers no CPU can "
    "run, and the patch embedding, whose rows are counted wrongly",
)
