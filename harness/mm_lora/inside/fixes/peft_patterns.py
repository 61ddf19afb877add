"""Fix: scales each module by rank_pattern and alpha_pattern of its adapter, as PEFT does."""

import math
import re
from typing import Any

from ..registry import Patch

_KEPT = "mm_lora_adapter_config"


def _keeping(original: Any) -> Any:
    def from_dict(cls: Any, config_dict: dict[str, Any]) -> Any:
        helper = original(cls, config_dict)
        setattr(helper, _KEPT, dict(config_dict))
        return helper

    return from_dict


def _scaling(original: Any) -> Any:
    def from_config(cls: Any, module_name: str, peft_helper: Any) -> Any:
        weights = original(cls, module_name, peft_helper)
        config = getattr(peft_helper, _KEPT, {})
        if config.get("rank_pattern") or config.get("alpha_pattern"):
            weights.scaling = scale(config, module_name)
        return weights

    return from_config


def scale(config: dict[str, Any], path: str) -> float:
    """alpha / r of one module, or alpha / √r; a pattern that matches its path's end goes first."""

    def own(patterns: dict[str, float] | None, default: float) -> float:
        for pattern, value in (patterns or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                return value
        return default

    rank = own(config.get("rank_pattern"), config["r"])
    alpha = own(config.get("alpha_pattern"), config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


PATCH = Patch(
    id="peft-patterns",
    kind="fix",
    versions="<0.30",
    wraps={
        "vllm.lora.peft_helper:PEFTHelper.from_dict": _keeping,
        "vllm.lora.lora_weights:LoRALayerWeights.from_config": _scaling,
    },
    reason="peft_helper.py drops rank_pattern and alpha_pattern: every module is scaled by the "
    "adapter's r and lora_alpha",
)
