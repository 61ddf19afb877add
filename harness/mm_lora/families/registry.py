"""Lists the families, and finds the one that a model or a config.json belongs to."""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.family import Family

_PACKAGES = (
    *("llama4", "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm", "internvl"),
    *("llava", "llava_siglip", "llava_pixtral", "glm4_1v", "llava_next", "gemma3", "qwen3_asr"),
    *("lfm2_vl", "paligemma", "gemma4", "blip2", "pixtral", "mistral_small", "ultravox"),
    *("llava_next_video", "gemma4_sounds"),
)
"""One folder a family, in the order in which they are told; the first is the default."""


@cache
def families() -> Mapping[str, Family]:
    """Every family by its name."""
    found: dict[str, Family] = {}
    for package in _PACKAGES:
        family: Family = importlib.import_module(f"mm_lora.families.{package}.family").FAMILY
        found[family.name] = family
    return found


def family(name: str) -> Family:
    """The family of that name. Raises UsageError."""
    known = families()
    if name not in known:
        raise UsageError(f"no family '{name}'", f"one of {', '.join(known)}")
    return known[name]


@cache
def published() -> Mapping[str, Family]:
    """Every published model's name → its family."""
    return {name: family for family in families().values() for name in family.published}


@cache
def repositories() -> Mapping[str, str]:
    """Every known repository with real weights → the published model that it is."""
    return {
        repo: name for family in families().values() for repo, name in family.repositories.items()
    }


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of a config.json's content. Raises UsageError that suggests the nearest."""
    kind = str(config.get("model_type"))
    by_type = {kind: family for family in families().values() for kind in family.model_types}
    vision = config.get("vision_config")
    tower = vision.get("model_type") if isinstance(vision, Mapping) else None
    for found in (f"{kind}+{tower}", kind):
        if found in by_type:
            return by_type[found]
    if config.get("model_type") is None:
        return next(iter(families().values()))  # a vision part alone: the default family asks more
    near = difflib.get_close_matches(kind, by_type, n=1, cutoff=0.5)
    hint = f"; the nearest is {by_type[near[0]].title} ({near[0]})" if near else ""
    raise UsageError(
        f"no family here supports the config's model_type {kind!r}{hint}",
        f"a config.json of one of: {', '.join(by_type)}",
    )


def of_models(names: Iterable[str]) -> list[str]:
    """The published models of the families of these published models, in order."""
    mine = dict.fromkeys(published()[name].name for name in names if name in published())
    return [model for name in mine for model in family(name).published]
