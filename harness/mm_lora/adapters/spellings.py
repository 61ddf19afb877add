"""The adapters of a family's groups, with their keys as other trainers and exporters spell them."""

from collections.abc import Callable, Iterator, Mapping

from mm_lora.adapters.keys import PREFIX, SIDES, key_of
from mm_lora.adapters.spec import AdapterSpec, of_groups
from mm_lora.families.family import Family

SPELLINGS: Mapping[str, str] = {
    "older-names": "PEFT on transformers 4.51 and older",
    "text-class": "PEFT on the text-only class",
    "no-prefix": "an exporter that leaves out PEFT's prefix",
    "adapter-name": "an exporter that leaves the adapter's name in",
    "inner-linear": "PEFT on a module that holds its Linear",
}
"""Form of an adapter → who writes it. What the newest transformers write is among PEFT's variants;
TRL, axolotl, ms-swift and Unsloth save what PEFT writes."""


def spelled_name(group: str, spelling: str) -> str:
    """The adapter of a group in a spelling."""
    return f"{group}-{spelling}"


def respellings(family: Family) -> Mapping[str, Callable[[str], str]]:
    """Spelling → what makes its key of PEFT's."""

    def on_older(key: str) -> str:
        path = key.removeprefix(PREFIX)
        new, old = next((pair for pair in family.older if path.startswith(pair[0])), ("", ""))
        return PREFIX + old + path.removeprefix(new)

    return {
        "older-names": on_older,
        "text-class": lambda key: key.replace(f".{family.text_part}", "."),
        "no-prefix": lambda key: key.removeprefix(PREFIX),
        "adapter-name": lambda key: key.removesuffix(".weight") + ".default.weight",
        "inner-linear": lambda key: key.replace(".lora_", ".linear.lora_"),
    }


def spellings(family: Family) -> Iterator[tuple[str, str]]:
    """(spelling, group) wherever the keys of a wrapped group then differ from PEFT's."""
    for spelling, respelled in respellings(family).items():
        for group in family.wrapped:
            key = key_of(group.target, SIDES[0])
            if respelled(key) != key:
                yield spelling, group.name


def spelled(family: Family) -> Mapping[str, AdapterSpec]:
    """By name; each has the numbers of its group's own adapter."""
    specs = (
        of_groups(family, spelled_name(group, spelling), [group], form=spelling, stream=group)
        for spelling, group in spellings(family)
    )
    return {spec.name: spec for spec in specs}
