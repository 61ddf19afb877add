"""A page that says how it was written."""

from collections.abc import Iterable

MARK = "<!-- Written by `make reference`. -->"


def page(title: str, lines: Iterable[str]) -> str:
    """Its text."""
    return "\n".join([f"# {title}", "", MARK, "", *lines]).rstrip() + "\n"
