"""Mutants that take turns on one server: each acts only while a check of its own is judged."""

import functools
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

FILE = "judging"
"""Beside the config: the id of the check that is judged now; empty, or no file, between checks."""

Make = Callable[[Any], Any]


def scopes(wanted: Iterable[str]) -> dict[str, list[str]]:
    """Patch id → the patterns of the checks in which it acts; "id@pattern" in `wanted`, repeatable.

    An id that is wanted without a pattern as well acts always, and is not in here.
    """
    words = list(wanted)
    found: dict[str, list[str]] = {}
    for word in words:
        identity, at, pattern = word.partition("@")
        if at and identity not in words:
            found.setdefault(identity, []).append(pattern)
    return found


class Turn:
    """Whether it is the turn of a patch: a check that one of its patterns names is judged."""

    def __init__(self, file: Path, patterns: Iterable[str]) -> None:
        self._file = file
        self._patterns = tuple(patterns)

    def __call__(self) -> bool:
        try:
            judged = self._file.read_text(encoding="utf-8")
        except OSError:
            return False
        return any(fnmatchcase(judged, pattern) for pattern in self._patterns)


def in_turn(make: Make, turn: Callable[[], bool]) -> Make:
    """`make`, but the replacement acts only in its turn, and the original otherwise."""

    def made(original: Any) -> Any:
        replaced = make(original)

        @functools.wraps(original)
        def either(*arguments: Any, **named: Any) -> Any:
            return (replaced if turn() else original)(*arguments, **named)

        return either

    return made
