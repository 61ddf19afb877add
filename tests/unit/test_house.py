"""The house: its rooms are named alike everywhere, and only a family's own rooms name it."""

import re
import tomllib
from pathlib import Path

import pytest

from mm_lora.families import registry

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "harness" / "mm_lora"
ALLOWED = {"harness/mm_lora/families/registry.py"}
"""Files outside a family's own folders that may name it: the one that lists them."""


def rooms_of_contract() -> set[str]:
    """The rooms in import-linter's layers."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers" and contract["containers"] == ["mm_lora"]
    )
    return {room.strip() for layer in layers for room in layer.split("|")}


def rooms_of_page() -> list[set[str]]:
    """The `rooms/` in the first column of each table of the page."""
    tables: list[set[str]] = [set()]
    for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|"):
            tables[-1] |= set(re.findall(r"`(\w+)/`", line.split("|")[1]))
        elif tables[-1]:
            tables.append(set())
    return [table for table in tables if table]


def names_of_families() -> dict[str, str]:
    """What names an architecture, in small letters, and whose it is."""
    names = {}
    for family in registry.families().values():
        stem = re.match("[A-Za-z]+", family.title)
        assert stem is not None, family.title
        words = (stem[0], family.title, family.name, family.package, *family.published)
        names |= {word.lower(): family.title for word in words}
    return names


def sources() -> list[Path]:
    """Every file of the harness and the cases but a family's own folders and files."""
    own = {
        file.parent
        for folder in ("families", "inside/families")
        for file in (PACKAGE / folder).glob("*/__init__.py")
    }
    own |= set((PACKAGE / "inside/families").glob("[!_]*.py"))
    found = [*PACKAGE.rglob("*.py"), *(ROOT / "cases").glob("*.py")]
    return sorted(file for file in found if not own & {file, *file.parents})


def test_the_page_and_the_contract_name_the_same_rooms() -> None:
    rooms = rooms_of_contract()
    nearest = max(rooms_of_page(), key=lambda table: len(table & rooms), default=set())
    assert nearest == rooms


def test_every_room_is_a_folder_and_every_folder_a_room() -> None:
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert folders == rooms_of_contract()


def test_nothing_lies_about_between_the_rooms() -> None:
    assert {file.name for file in PACKAGE.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_only_a_familys_own_rooms_name_an_architecture() -> None:
    names = names_of_families()
    files = {str(file.relative_to(ROOT)): file for file in sources()}
    assert files.keys() >= ALLOWED
    found = []
    for where in sorted(files.keys() - ALLOWED):
        text = files[where].read_text(encoding="utf-8")
        small = text.lower()
        # In the whole text first: nearly no file has any.
        if any(name in small for name in names):
            found += [
                f"{where}:{number}: {line.strip()}"
                for number, line in enumerate(text.splitlines(), 1)
                if any(name in line.lower() for name in names)
            ]
    if found:
        pytest.fail(f"{len(found)} lines name an architecture:\n" + "\n".join(found))


def test_the_search_would_find_what_it_looks_for() -> None:
    own = [PACKAGE / "families" / family.package for family in registry.families().values()]
    names = names_of_families()
    for folder in own:
        text = (folder / "family.py").read_text(encoding="utf-8").lower()
        assert any(name in text for name in names)
    assert not set(own) & {parent for file in sources() for parent in file.parents}
