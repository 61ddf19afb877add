"""One adapter for each option of PEFT, with a plain twin that gives the truth."""

from collections.abc import Mapping
from dataclasses import replace

from mm_lora.adapters.spec import AdapterSpec, of_groups, of_targets
from mm_lora.families.family import Family

NAMES = (
    *("peft-plain", "peft-rslora", "peft-alpha-below-rank", "peft-rank-pattern"),
    *("peft-alpha-pattern", "peft-partial-layers", "peft-part-of-qkv", "peft-rank-1"),
    *("peft-rank-3", "peft-bfloat16", "peft-float16", "peft-target-list", "peft-sharded"),
    "peft-text-class",
)

NEWEST_NAMES = "peft-newest-names"
"""Of families whose modules transformers has renamed since vLLM's class was written."""

TWINS: Mapping[str, str] = {"peft-sharded": "peft-plain", "peft-text-class": "language-v_proj"}
"""Adapters in a form that the reference does not read → the same numbers as PEFT writes them."""


def peft_variants(family: Family) -> Mapping[str, AdapterSpec]:
    """By name."""
    forms = family.forms
    wide = of_targets("peft-plain", forms.wide)
    language = next(
        group.projections["language-v_proj"]
        for group in family.groups.values()
        if "language-v_proj" in group.projections
    )
    specs = (
        wide,
        replace(wide, name="peft-rslora", peft=(("use_rslora", True),), alpha=6.0),
        replace(wide, name="peft-alpha-below-rank", alpha=3.0),
        replace(wide, name="peft-rank-pattern", peft=(("rank_pattern", dict(forms.ranks)),)),
        replace(wide, name="peft-alpha-pattern", peft=(("alpha_pattern", dict(forms.alphas)),)),
        of_targets("peft-partial-layers", forms.partial),
        of_targets("peft-part-of-qkv", forms.part_of_packed),
        replace(wide, name="peft-rank-1", rank=1),
        replace(wide, name="peft-rank-3", rank=3),
        replace(wide, name="peft-bfloat16", dtype="bfloat16"),
        replace(wide, name="peft-float16", dtype="float16"),
        of_groups(
            family,
            "peft-target-list",
            forms.ends_groups,
            peft=(("target_modules", list(forms.ends)),),
        ),
        replace(wide, name="peft-sharded", form="sharded", stream=wide.name),
        of_targets("peft-text-class", [language], form="text-class", stream="language-v_proj"),
    )
    found = {spec.name: spec for spec in specs}
    assert tuple(found) == NAMES
    if family.renamed:
        found[NEWEST_NAMES] = of_groups(
            family, NEWEST_NAMES, [family.renamed], form="own-names", stream=family.renamed
        )
    return found
