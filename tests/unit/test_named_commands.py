"""Every `mm-lora …` that a message or a page names is there, with the options that it is given."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from mm_lora.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("harness/mm_lora", "cases", "fixtures", "docs", "README.md", "Makefile")
_NAMED = re.compile(r"`mm-lora ([a-z][^`]*)`")
_JOINED = re.compile(r'"\s*\n\s*f?"')
"""A message that goes on in the next line of its source."""
MM_LORA = typer.main.get_command(app)


def files() -> Iterator[Path]:
    for place in PLACES:
        path = ROOT / place
        found = [path] if path.is_file() else path.rglob("*")
        yield from (file for file in found if file.suffix in (".py", ".md", ".toml", ""))


def named() -> dict[str, str]:
    """Command line → the file that names it."""
    lines = {}
    for file in files():
        if file.is_file():
            text = _JOINED.sub("", file.read_text(encoding="utf-8"))
            lines.update({line: str(file.relative_to(ROOT)) for line in _NAMED.findall(text)})
    return lines


LINES = named()


@pytest.mark.parametrize(("line", "file"), LINES.items())
def test_it_is_there(line: str, file: str) -> None:
    command = MM_LORA
    words = line.split()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    assert words != line.split(), f"{file} names a command that does not exist: mm-lora {line}"
    options = {option for parameter in command.params for option in parameter.opts}
    told = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert told <= options, f"{file} names options that mm-lora {command.name} does not have"


def test_some_are_named() -> None:
    assert len(LINES) > 10
