"""How a help page looks: options in panels, a word for each value, examples at the end."""

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WHAT, WHERE, HOW, OUTPUT, OTHER = "What", "Where", "How", "Output", "Other"
"""The panels, in the order in which a page shows them."""


def option(text: str, panel: str, takes: str, *names: str, **more: Any) -> Any:
    """An option with a value. `takes`: the word for it, such as DIR; `names`: if not its own."""
    return typer.Option(*names, help=text, metavar=takes, rich_help_panel=panel, **more)


def switch(text: str, panel: str, *names: str) -> Any:
    """An option without a value. Its names are told, since typer would add a `--no-` twin."""
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False)


def examples(*lines: str) -> str:
    """The end of a page: command lines, none of them wider than a terminal of 80 columns."""
    return "\n".join(["Examples:", *lines])


class Command(TyperCommand):
    """A command with such a page."""

    def get_params(self, ctx: Any) -> Any:
        """Its parameters, typer's own `--help` among them, as the page shows them."""
        return _tidied(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands with such a page."""

    def get_params(self, ctx: Any) -> Any:
        """Its parameters, typer's own for shells among them, as the page shows them."""
        return _tidied(super().get_params(ctx))


def _tidied(parameters: Iterable[Any]) -> list[Any]:
    """No type where a name says enough, and a panel for what typer adds by itself."""
    found = list(parameters)
    for one in found:
        if one.param_type_name == "argument":
            one.display_type_rich = _nothing
        else:
            if one.is_bool_flag:
                one.metavar = ""
            one.rich_help_panel = getattr(one, "rich_help_panel", None) or OTHER
    return found


def _nothing(ctx: Any) -> None:
    """In place of an argument's type."""
