"""What the mutants say of themselves: docs/mutants.md lists it, and it fits families and lanes."""

from pathlib import Path

import pytest

from mm_lora.core.selection import GROUPS
from mm_lora.families import registry
from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.registry import Patch
from mm_lora.report import mutant_list
from mm_lora.run.mutant_turns import SILENT, Lane

PAGE = Path(__file__).parents[2] / "docs" / "mutants.md"
MUTANTS = [one for one in PATCHES if one.kind == "mutant" and one.id != SILENT]


def test_the_stored_list_is_current() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert mutant_list.page(text, PATCHES) == text, "mm-lora mutants --page docs/mutants.md"


def test_what_stands_above_the_list_is_kept() -> None:
    page = mutant_list.page(f"# Told by hand\n\n{mutant_list.MARK}\nold", PATCHES)
    assert page.startswith(f"# Told by hand\n\n{mutant_list.MARK}\n\n## The {len(MUTANTS)} ")
    assert "old" not in page.splitlines()


@pytest.mark.parametrize("one", MUTANTS, ids=lambda one: one.id)
def test_a_mutant_says_how_it_is_judged(one: Patch) -> None:
    assert one.kills
    assert {pattern.partition("/")[0] for pattern in one.kills} <= set(GROUPS)
    assert set(one.families) <= set(registry.families())
    assert set(one.survives) <= set(Lane)
    assert all(one.survives.values())
    assert one.adds is None or one.needs_restart, "what is added cannot be switched off"


def test_other_patches_say_nothing_of_it() -> None:
    others = [one for one in PATCHES if one not in MUTANTS]
    assert not any(one.kills or one.families or one.survives for one in others)
