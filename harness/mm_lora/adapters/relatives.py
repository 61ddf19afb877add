"""Adapters that must act like another adapter, or not at all: relations without a reference."""

from collections.abc import Mapping
from dataclasses import replace

from mm_lora.adapters.spec import AdapterSpec, of_groups
from mm_lora.families.family import Family

SAME: Mapping[str, tuple[str, str]] = {
    "alpha-doubled": ("relative-b-doubled", "relative-alpha-doubled"),
    "rank-padded": ("relative", "relative-padded"),
    "rank-permuted": ("relative", "relative-permuted"),
    "two-names": ("relative", "relative-twin"),
}
"""Relation → the two adapters that must answer the same."""

NAMES = (
    *("relative", "relative-zero-b", "relative-alpha-doubled", "relative-b-doubled"),
    *("relative-padded", "relative-permuted", "relative-twin"),
)


def relatives(family: Family) -> Mapping[str, AdapterSpec]:
    """By name. All wrapped groups, at half the greatest rank."""
    groups = [group.name for group in family.wrapped]
    one = of_groups(family, "relative", groups, rank=4, alpha=8.0)
    specs = (
        one,
        replace(one, name="relative-zero-b", strength=0.0, stream=one.name),
        replace(one, name="relative-alpha-doubled", alpha=16.0, stream=one.name),
        replace(one, name="relative-b-doubled", strength=1.0, stream=one.name),
        replace(one, name="relative-padded", form="padded", stream=one.name),
        replace(one, name="relative-permuted", form="permuted", stream=one.name),
        replace(one, name="relative-twin", stream=one.name),
    )
    return {spec.name: spec for spec in specs}
