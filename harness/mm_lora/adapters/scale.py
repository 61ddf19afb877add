"""The factor on an adapter's B·A, from adapter_config.json."""

import math
import re
from collections.abc import Mapping
from typing import Any


def scale_of(config: Mapping[str, Any], path: str) -> float:
    """alpha / r of one module; a pattern that matches its path's end goes before the default."""
    rank = rank_of(config, path)
    alpha = _pattern(config.get("alpha_pattern") or {}, path, config["lora_alpha"])
    return float(alpha / (math.sqrt(rank) if config.get("use_rslora") else rank))


def alpha_of(config: Mapping[str, Any], rank: float, scale: float) -> float:
    """The alpha that gives a module of this rank that scale."""
    return scale * (math.sqrt(rank) if config.get("use_rslora") else rank)


def rank_of(config: Mapping[str, Any], path: str) -> float:
    """The rank of one module."""
    return _pattern(config.get("rank_pattern") or {}, path, config["r"])


def _pattern(patterns: Mapping[str, float], path: str, default: float) -> float:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return value
    return default
