"""docs/reference/exit-codes.md: what each exit code says, and the errors that lead to it."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from mm_lora.cli.app import app
from mm_lora.cli.reference import written
from mm_lora.core import errors
from mm_lora.report.pipe_table import table

HEAD = (
    "Of a run's codes the first that applies counts, in this order: 2, a signal, 1, 3, 4, 0. "
    "`make` ends with 2 whenever a command in it fails; `.venv/bin/mm-lora` gives the code itself."
)

_SAYS = "Exit codes: "


def page() -> str:
    """The page: codes, commands that say more, errors."""
    lines = [HEAD, ""]
    codes = [(str(int(code)), meaning) for code, meaning in errors.MEANINGS.items()]
    lines += [*table(("code", "says"), codes), "", "## Of single commands", ""]
    lines += [*table(("command", "codes"), list(_commands(typer.main.get_command(app)))), ""]
    lines += ["## Errors", "", "Each says what happened, then what to check.", ""]
    lines += table(("error", "code", "when"), list(_errors(errors.MmLoraError)))
    return written.page("Exit codes", lines)


def _commands(command: Any, *above: str) -> Iterator[tuple[str, str]]:
    """Every command whose help speaks of its exit codes."""
    for name, one in getattr(command, "commands", {}).items():
        words = (*above, name)
        for part in (one.help or "").split("\n\n"):
            if part.startswith(_SAYS):
                said = " ".join(part.removeprefix(_SAYS).split())
                yield f"`mm-lora {' '.join(words)}`", said
        yield from _commands(one, *words)


def _errors(kind: type[errors.MmLoraError]) -> Iterator[tuple[str, str, str]]:
    """The error and those below it, as far as they are in the one file of errors."""
    if kind.__module__ == errors.__name__:
        says = " ".join((inspect.getdoc(kind) or "").split())
        first = re.match(r".*?\.(?=\s|$)", says)
        yield f"`{kind.__name__}`", str(int(kind.exit_code)), first.group() if first else says
        for one in kind.__subclasses__():
            yield from _errors(one)
