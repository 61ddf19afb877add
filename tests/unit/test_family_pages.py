"""docs/families/ is what the families' own data says today."""

from pathlib import Path

import pytest
from interpreters import interpreter
from rich.console import Console

from mm_lora.cli.commands.families import pages, rendered, write_pages
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.modules import PROMPT
from mm_lora.serving.hooked_classes import HookedClass

DOCS = Path(__file__).parents[2] / "docs" / "families"


def test_the_stored_pages_are_current(tmp_path: Path) -> None:
    write_pages(tmp_path)
    made = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    stored = {file.name: file.read_text(encoding="utf-8") for file in DOCS.iterdir()}
    assert made == stored, "mm-lora families --pages docs/families writes them anew"


@pytest.mark.parametrize("family", registry.families().values(), ids=lambda family: family.name)
def test_every_kind_of_rows_has_a_formula(family: Family) -> None:
    kinds = {group.rows for group in family.groups.values()} | set(family.mapped.values())
    assert set(family.formulas) == kinds - {PROMPT}


def test_a_page_says_what_a_reader_needs() -> None:
    page = pages()["llama4.md"]
    assert "| encoder | chunks · (p² + 1)" in page
    assert "| 336×336 (image) | 576 | 577 | 144 | 144 | 147 |" in page
    assert "`llama4-qk-lora-rows`" in page
    assert "--lora-target-modules qkv_proj" in page


def test_a_narrow_terminal_shows_every_name_and_reason_in_full() -> None:
    found = interpreter()
    other = HookedClass(
        module="other", name="A" * 50, architectures=("Other",), flag=None, mapping=True
    )
    console = Console(width=80)
    with console.capture() as shown:
        console.print(rendered(found, [other]))
    text = " ".join(shown.get().split())
    assert "…" not in text
    assert other.name in text
    for family in registry.families().values():
        assert all(name in text for name in (family.name, *family.published))
        assert f"{family.name}: {family.state_reason}" in text or not family.state_reason
