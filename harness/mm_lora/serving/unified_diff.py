"""Applies a unified diff to texts, strictly: every line of context must be there."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO

from unidiff import patch
from unidiff.constants import DEV_NULL, LINE_TYPE_NO_NEWLINE
from unidiff.errors import UnidiffParseError

NULL = DEV_NULL


class DoesNotApply(Exception):
    """A diff that cannot be read, or a hunk that does not fit; the message names file and hunk."""


@dataclass(frozen=True)
class Hunk:
    """Lines to find from line `start` on (1-based), and what takes their place. Ends kept."""

    header: str
    start: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """One file of a diff. `old` or `new` is /dev/null for a new or a deleted file.

    `unreadable` says why its lines cannot be applied (binary, renamed); then it has no hunks.
    """

    old: str
    new: str
    hunks: tuple[Hunk, ...] = ()
    unreadable: str = ""

    @property
    def path(self) -> str:
        """The file's path, without the `a/` or `b/` that git puts in front."""
        return _plain(self.old if self.new == NULL else self.new)


def parse(text: str) -> list[Change]:
    """Every file of a diff (git's, or `diff -u`'s) whose lines change; text between is passed over.

    Raises DoesNotApply for a hunk that is not as long as it says, a file without any, and for a
    text without any file in it that is not empty.
    """
    lines = _Lines(text)
    try:
        files = patch.PatchSet(lines)
    except UnidiffParseError as error:
        raise DoesNotApply(f"{lines.place}: {error}") from None
    if not files and text.strip():
        raise DoesNotApply("this is not a unified diff: it has no `--- ` / `+++ ` pair")
    return [change for change in map(_change, files) if change is not None]


def apply(text: str, change: Change) -> str:
    """The text with all hunks of one file in; each may lie elsewhere than it says, if it fits.

    The nearest place that fits is taken, behind the hunk before. Raises DoesNotApply.
    """
    lines = list(StringIO(text))  # not splitlines: a form feed ends no line of a diff
    done: list[str] = []
    used = offset = 0
    for number, hunk in enumerate(change.hunks, 1):
        # A hunk without any old line says the line after which it goes in.
        wanted = max(0, hunk.start - (1 if hunk.old else 0)) + offset
        place = _find(lines, hunk.old, wanted, used)
        if place is None:
            raise DoesNotApply(
                f"hunk {number} of {change.path} ({hunk.header}) does not apply: "
                f"{_why(lines, hunk, wanted)}"
            )
        done += [*lines[used:place], *hunk.new]
        used, offset = place + len(hunk.old), place - (wanted - offset)
    return "".join([*done, *lines[used:]])


def _find(lines: Sequence[str], old: Sequence[str], wanted: int, first: int) -> int | None:
    last = len(lines) - len(old)
    for place in sorted(range(first, last + 1), key=lambda at: abs(at - wanted)):
        if tuple(lines[place : place + len(old)]) == tuple(old):
            return place
    return None


def _why(lines: Sequence[str], hunk: Hunk, wanted: int) -> str:
    if hunk.new and _find(lines, hunk.new, wanted, 0) is not None:
        return "the file has its result already"
    for line, expected in enumerate(hunk.old, wanted):
        there = lines[line].rstrip("\r\n") if line < len(lines) else "(end of the file)"
        if there != expected.rstrip("\r\n"):
            return f"line {line + 1} is {there!r}, not {expected.rstrip()!r}"
    return "its lines are elsewhere, before the hunk in front of it"


class _Lines:
    """A diff's lines for its parser, whose errors name no place: the file and hunk last begun."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._file, self._hunk, self._line = "", 0, 0

    def __iter__(self) -> Iterator[str]:
        for line in StringIO(self._text):
            self._line += 1
            if line.startswith(("--- ", "+++ ")) and NULL not in line:
                self._file, self._hunk = _plain(line[4:].partition("\t")[0].strip()), 0
            elif line.startswith("@@ "):
                self._hunk += 1
            yield line

    @property
    def place(self) -> str:
        return f"hunk {self._hunk} of {self._file}, line {self._line} of the diff"


def _plain(name: str) -> str:
    name = name.strip('"')
    return name[2:] if name.startswith(("a/", "b/")) else name


def _change(file: patch.PatchedFile) -> Change | None:
    """None for a file of which git says only that its mode or place in the index changes."""
    old, new = file.source_file, file.target_file
    git = tuple(map(str, file.patch_info or ()))
    if file.is_binary_file:
        return Change(old, new, (), "it is a binary file")
    # Not its is_rename, which takes `diff -u x.py.orig x.py` for one.
    if any(line.startswith(("rename from ", "copy from ")) for line in git):
        return Change(old, new, (), "it is renamed or copied")
    change = Change(old, new, tuple(map(_hunk, file)))
    if change.hunks or (git and NULL in (old, new)):
        return change
    if any(line.startswith("new mode ") for line in git):
        return None
    raise DoesNotApply(f"{change.path} has no hunk that can be read")


def _hunk(hunk: patch.Hunk) -> Hunk:
    old: list[str] = []
    new: list[str] = []
    last: tuple[list[str], ...] = ()
    for line in hunk:
        if line.line_type == LINE_TYPE_NO_NEWLINE:
            for side in last:
                side[-1] = side[-1].rstrip("\r\n")
            continue
        last = {" ": (old, new), "-": (old,), "+": (new,)}.get(line.line_type, ())
        for side in last:
            side.append(line.value)
    return Hunk(str(hunk).partition("\n")[0], hunk.source_start, tuple(old), tuple(new))
