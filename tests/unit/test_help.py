"""Help pages: readable at 80 columns, options in panels, examples that the command takes."""

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
import typer.rich_utils

from mm_lora.cli.app import app
from mm_lora.cli.help import HOW, OTHER, OUTPUT, WHAT, WHERE

PANELS = {WHAT, WHERE, HOW, OUTPUT, OTHER}


def commands(command: Any, *above: str) -> Iterator[tuple[str, Any]]:
    """Every command and group, by the words that call it."""
    words = (*above, command.name or "")
    yield " ".join(words).strip(), command
    for one in getattr(command, "commands", {}).values():
        yield from commands(one, *words)


PAGES = dict(commands(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 columns without colours, also where GitHub asks for them."""
    monkeypatch.setattr(typer.rich_utils, "MAX_WIDTH", 80)
    monkeypatch.setattr(typer.rich_utils, "FORCE_TERMINAL", False)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_noise(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = PAGES[name]
    context = typer.Context(command, info_name=f"mm-lora {name}")
    command.get_help(context)
    page = capsys.readouterr().out
    for noise in ("<bool>", "<str>", "<path>", "<int>", "<list", "--no-"):
        assert noise not in page
    for parameter in command.get_params(context):
        if parameter.param_type_name == "option":
            assert parameter.rich_help_panel in PANELS, parameter.name
            assert parameter.is_bool_flag or parameter.metavar, f"{parameter.name} takes what?"
    for line in (command.epilog or "").splitlines():
        assert line in page or not line.startswith("mm-lora"), "wider than the page"


def test_every_command_has_examples_that_it_takes() -> None:
    for name, command in PAGES.items():
        lines = [line for line in (command.epilog or "").splitlines() if line != "Examples:"]
        for line in lines if name else ():
            words = shlex.split(line)[1:]
            found: Any = PAGES[""]
            while words and words[0] in getattr(found, "commands", {}):
                found = found.commands[words.pop(0)]
            found.make_context(line, words)
            assert line.startswith(f"mm-lora {name}")
        assert len(lines) > 1 or not name, f"{name} has no examples"
