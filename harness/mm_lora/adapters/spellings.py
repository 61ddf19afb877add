"""The adapters of a family's groups, with their keys as other trainers and exporters spell them."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from mm_lora.adapters.keys import PREFIX, SIDES, key_of
from mm_lora.adapters.spec import AdapterSpec, of_groups
from mm_lora.families.family import Family


class Spelling(NamedTuple):
    """Who writes it, and what makes its key of PEFT's."""

    writer: str
    respelled: Callable[[Family, str], str]


def _on_older(family: Family, key: str) -> str:
    path = key.removeprefix(PREFIX)
    new, old = next((pair for pair in family.older if path.startswith(pair[0])), ("", ""))
    return PREFIX + old + path.removeprefix(new)


SPELLINGS: Mapping[str, Spelling] = {
    "older-names": Spelling("PEFT on transformers 4.51 and older", _on_older),
    "text-class": Spelling(
        "PEFT on the text-only class", lambda family, key: key.replace(f".{family.text_part}", ".")
    ),
    "no-prefix": Spelling(
        "an exporter that leaves out PEFT's prefix", lambda family, key: key.removeprefix(PREFIX)
    ),
    "adapter-name": Spelling(
        "an exporter that leaves the adapter's name in",
        lambda family, key: key.removesuffix(".weight") + ".default.weight",
    ),
    "inner-linear": Spelling(
        "PEFT on a module that holds its Linear",
        lambda family, key: key.replace(".lora_", ".linear.lora_"),
    ),
}
"""By the form of an adapter. What the newest transformers write is among PEFT's variants; TRL,
axolotl, ms-swift and Unsloth save what PEFT writes."""


def spelled_name(group: str, spelling: str) -> str:
    """The adapter of a group in a spelling."""
    return f"{group}-{spelling}"


def spellings(family: Family) -> Iterator[tuple[str, str]]:
    """(spelling, group) wherever the keys of a wrapped group then differ from PEFT's."""
    for name, spelling in SPELLINGS.items():
        for group in family.wrapped:
            key = key_of(group.target, SIDES[0])
            if spelling.respelled(family, key) != key:
                yield name, group.name


def spelled(family: Family) -> Mapping[str, AdapterSpec]:
    """By name; each has the numbers of its group's own adapter."""
    specs = (
        of_groups(family, spelled_name(group, spelling), [group], form=spelling, stream=group)
        for spelling, group in spellings(family)
    )
    return {spec.name: spec for spec in specs}
