"""The command blocks of README.md and the documents, with the tag that says how each is tested.

A tag is a comment on the line before a block, which no reader sees:
`<!-- parsed -->`: its command lines are ones that mm-lora and make take;
`<!-- dry-run -->`: and so is what they name, since `--dry-run` of each ends well;
`<!-- run -->`: and they run, without a server, and end well;
`<!-- output -->`: a block of text whose lines the block above it printed; `…` stands for others.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TAGS = ("parsed", "dry-run", "run")
OUTPUT = "output"
SHELL = ("sh", "bash", "console", "shell")

_FENCE = re.compile(r"(`{3,}|~{3,})\s*(\S*)")
_TAG = re.compile(r"<!-- ([\w-]+) -->")
_COMMAND = re.compile(r"[$>]?\s*(\.venv/bin/)?(mm-lora|make|pip|uv|git)\s+[\w-]")
_CRON = re.compile(r"(?:[\d*/,-]+\s+){5}")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its tag and language ("" for none), its lines."""

    file: str
    line: int
    tag: str
    language: str
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        """Where it is."""
        return f"{self.file}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether it has commands."""
        return self.language in SHELL

    @property
    def has_commands_unsaid(self) -> bool:
        """Whether a line looks like a command, though the block does not say that it has any."""
        told = self.is_shell or self.tag == OUTPUT or self.language in ("yaml", "python")
        return not told and any(_COMMAND.match(line.strip()) for line in self.lines)

    @property
    def commands(self) -> list["Command"]:
        """Its command lines, joined where they go on; comments and empty lines left out."""
        joined = "\n".join(self.lines).replace("\\\n", " ")
        found = [command(line) for line in joined.splitlines()]
        return [one for one in found if one.program]


@dataclass(frozen=True)
class Command:
    """One command line: variables before it aside, and without what follows a pipe or `>`."""

    program: str = ""
    words: tuple[str, ...] = ()


@dataclass
class Shown:
    """A tagged block with the blocks of its output that follow."""

    block: Block
    output: list[str] = field(default_factory=list)


def command(line: str) -> Command:
    """What a line calls; that of a crontab has its times before it."""
    words = shlex.split(_CRON.sub("", line), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    ends = [at for at, word in enumerate(words) if word in ("|", ">", ">>", "&&", ";")]
    words = words[: min(ends, default=len(words))]
    if not words:
        return Command()
    return Command(words[0].removeprefix(".venv/bin/"), tuple(words[1:]))


def files() -> list[Path]:
    """README.md and its like, and every document."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str, file: str) -> Iterator[Block]:
    """The fenced blocks of a document; a command in an indented one is a block without a tag."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        opened = _FENCE.match(lines[at].strip())
        if opened is None:
            if lines[at].startswith("    ") and _COMMAND.match(lines[at].strip()):
                yield Block(file, at + 1, "", "", (lines[at].strip(),))
            at += 1
            continue
        tag = _TAG.fullmatch(lines[at - 1].strip()) if at else None
        end = next(
            (i for i in range(at + 1, len(lines)) if lines[i].strip() == opened[1]), len(lines)
        )
        yield Block(file, at + 1, tag[1] if tag else "", opened[2], tuple(lines[at + 1 : end]))
        at = end + 1


def blocks() -> list[Block]:
    """All of them."""
    return [
        block
        for file in files()
        for block in blocks_of(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)))
    ]


def shown(tags: Sequence[str]) -> list[Shown]:
    """The blocks with one of these tags, each with what is said to be its output."""
    found: list[Shown] = []
    last: Shown | None = None
    for block in blocks():
        if block.is_shell:
            last = Shown(block)
            found += [last] if block.tag in tags else []
        elif block.tag == OUTPUT and last is not None and last.block.file == block.file:
            last.output += block.lines
    return found


def missing(told: Sequence[str], printed: str) -> list[str]:
    """The lines that are said to be printed, in this order, and are not. Widths may differ: white
    space counts as one blank; a line that ends with `…` goes on."""
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    lost, at = [], 0
    for line in told:
        wanted = " ".join(line.split())
        if wanted in ("", "…"):
            continue
        cut = wanted.endswith("…")
        hits = (
            i
            for i in range(at, len(lines))
            if (lines[i].startswith(wanted[:-1].rstrip()) if cut else lines[i] == wanted)
        )
        found = next(hits, None)
        if found is None:
            lost.append(line)
        else:
            at = found + 1
    return lost
