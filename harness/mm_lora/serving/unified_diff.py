"""Reads a unified diff and applies it to texts, strictly: every line of context must be there."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NULL = "/dev/null"

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_NO_NEWLINE = "\\ No newline at end of file"


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
    """Every file of a diff (git's, or `diff -u`'s); text between files is passed over.

    Raises DoesNotApply for a hunk that ends too early, and for a text without any file in it
    that is not empty.
    """
    lines = text.splitlines(keepends=True)
    changes: list[Change] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("diff --git "):
            special, at = _git_head(lines, at)
            if special is not None:
                changes.append(special)
        elif line.startswith("--- ") and at + 1 < len(lines) and lines[at + 1][:4] == "+++ ":
            old, new = _name(line), _name(lines[at + 1])
            hunks, at = _hunks(lines, at + 2, _plain(old if new == NULL else new))
            changes.append(Change(old, new, hunks))
        else:
            at += 1
    if not changes and text.strip():
        raise DoesNotApply("there is no `--- ` / `+++ ` pair in it: this is no unified diff")
    return changes


def apply(text: str, change: Change) -> str:
    """The text with all hunks of one file in; each may lie elsewhere than it says, if it fits.

    The nearest place that fits is taken, behind the hunk before. Raises DoesNotApply.
    """
    lines = text.splitlines(keepends=True)
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


def _hunks(lines: Sequence[str], at: int, path: str) -> tuple[tuple[Hunk, ...], int]:
    found: list[Hunk] = []
    while at < len(lines) and (match := _HUNK.match(lines[at])):
        header = match[0]
        left = [int(match[2] or 1), int(match[3] or 1)]
        sides: tuple[list[str], list[str]] = ([], [])
        at += 1
        while any(left) or (at < len(lines) and lines[at].startswith(_NO_NEWLINE)):
            line = lines[at] if at < len(lines) else ""
            if line.startswith(_NO_NEWLINE):
                for side in _last_sides(lines[at - 1]):
                    sides[side][-1] = sides[side][-1].rstrip("\r\n")
            elif line[:1] in ("-", "+", " ") or line in ("\n", "\r\n"):
                # An editor or a mail may have stripped the blank of an empty line of context.
                body = line[1:] if line[:1] in ("-", "+", " ") else line
                for side in _last_sides(line):
                    sides[side].append(body)
                    left[side] -= 1
            else:
                raise DoesNotApply(f"hunk {len(found) + 1} of {path} ({header}) ends too early")
            if min(left) < 0:
                raise DoesNotApply(f"hunk {len(found) + 1} of {path} ({header}) is too long")
            at += 1
        found.append(Hunk(header, int(match[1]), tuple(sides[0]), tuple(sides[1])))
    if not found:
        raise DoesNotApply(f"{path} has no hunk that can be read")
    return tuple(found), at


def _last_sides(line: str) -> Iterator[int]:
    """The sides that a hunk's line belongs to: 0 the old text, 1 the new one."""
    if not line.startswith("+"):
        yield 0
    if not line.startswith("-"):
        yield 1


def _git_head(lines: Sequence[str], at: int) -> tuple[Change | None, int]:
    """A git header up to its `---`, the next file or the end; a Change where there are no lines."""
    names = re.match(r'diff --git "?(a/.+?)"? "?(b/.+?)"?\s*$', lines[at])
    old, new = (names[1], names[2]) if names else ("a/?", "b/?")
    special = ""
    at += 1
    while at < len(lines) and not lines[at].startswith(("diff --git ", "--- ")):
        line = lines[at]
        if line.startswith(("Binary files ", "GIT binary patch")):
            special = "it is a binary file"
        elif line.startswith(("rename from ", "copy from ")):
            special = "it is renamed or copied"
        elif line.startswith("new file mode"):
            old = NULL
        elif line.startswith("deleted file mode"):
            new = NULL
        at += 1
    has_lines = at < len(lines) and lines[at].startswith("--- ")
    if special or (not has_lines and NULL in (old, new)):
        return Change(old, new, (), special), at
    return None, at


def _name(line: str) -> str:
    """The path of a `---` or `+++` line, without the time that `diff -u` writes behind a tab."""
    name = line[4:].rstrip("\r\n").partition("\t")[0].strip()
    return name.strip('"')


def _plain(name: str) -> str:
    return name[2:] if name.startswith(("a/", "b/")) else name
