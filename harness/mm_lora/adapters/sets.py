"""Every synthetic adapter that a case may ask for, by family and name."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from mm_lora.adapters.peft_variants import peft_variants
from mm_lora.adapters.relatives import relatives
from mm_lora.adapters.spec import AdapterSpec, of_groups, of_targets
from mm_lora.adapters.spellings import spelled
from mm_lora.core.errors import UsageError
from mm_lora.families.family import Family
from mm_lora.families.modules import LANGUAGE

ALL = "all"
"""Every group that the family's flags wrap."""


@cache
def standard(family: Family) -> Mapping[str, AdapterSpec]:
    """One adapter for each wrapped group, the family's bundles, `all`; then the unwrapped groups,
    which end a CPU server that wraps them."""
    wrapped = [of_groups(family, group.name, [group.name]) for group in family.wrapped]
    bundles = [
        of_targets(name, bundle.targets, roles=bundle.roles)
        for name, bundle in family.bundles.items()
    ]
    whole = of_groups(family, ALL, [group.name for group in family.wrapped])
    rest = [
        of_groups(family, group.name, [group.name])
        for group in family.groups.values()
        if group.unwrapped
    ]
    return {spec.name: spec for spec in (*wrapped, *bundles, whole, *rest)}


@cache
def projections(family: Family) -> Mapping[str, AdapterSpec]:
    """One adapter per projection: the smallest whose numbers can be right or wrong.

    A group of a single projection is its own, among the standard ones.
    """
    return {
        name: of_targets(name, [target], roles=(group.role,))
        for group in family.groups.values()
        for name, target in group.projections.items()
    }


@cache
def known(family: Family) -> Mapping[str, AdapterSpec]:
    """All of a family's."""
    return {
        **standard(family),
        **projections(family),
        **_others(family),
        **peft_variants(family),
        **relatives(family),
        **spelled(family),
        **_good(family),
    }


def others_name(name: str) -> str:
    """The adapter of the same modules as that of a group of a single projection."""
    return f"{name}-other"


def _others(family: Family) -> Mapping[str, AdapterSpec]:
    """With other numbers, for a role that has no second layer to tell two adapters by."""
    names = [group.name for group in family.groups.values() if not group.projections]
    return {others_name(name): of_groups(family, others_name(name), [name]) for name in names}


def _good(family: Family) -> Mapping[str, AdapterSpec]:
    """The adapter that bad ones are made from, where it is no standard one."""
    good = family.good
    if good.adapter in standard(family):
        return {}
    names = [f"{LANGUAGE}-{name}" for name in (good.fused, good.plain)]
    targets = [
        p[n] for g in family.groups.values() if (p := g.projections) for n in names if n in p
    ]
    return {good.adapter: of_targets(good.adapter, targets, roles=(LANGUAGE,))}


def named(family: Family, name: str) -> AdapterSpec:
    """The adapter of that name. Raises UsageError."""
    adapters = known(family)
    if name not in adapters:
        raise UsageError(f"{family.title} has no adapter '{name}'", f"one of {', '.join(adapters)}")
    return adapters[name]


def for_server(spec: AdapterSpec, dtype: str, factor: float = 1.0) -> AdapterSpec:
    """The adapter for a server of that dtype, in 16 bits as its own unless it has another one.

    `factor`: so many times stronger. Adapters of one stream stay each other's relatives.
    """
    stronger = spec if factor == 1 else replace(spec, strength=spec.strength * factor)
    if spec.dtype != "float32" or dtype not in ("bfloat16", "float16"):
        return stronger
    return replace(stronger, dtype=dtype)
