"""Every command block of the documents says how it is tested, and its command lines are real ones.

What `dry-run` and `run` promise beyond that is tested in tests/e2e/test_command_blocks.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blocks
import pytest
import typer
import typer.main
from blocks import ROOT, Block, Command
from every_case import every_case

from mm_lora.cli.app import app
from mm_lora.core.errors import UsageError
from mm_lora.core.selection import matches
from mm_lora.families import registry
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import of_command
from mm_lora.run.settings import settings_of

OTHERS = {"export", "git", "source", "uv", "vllm"}
"""Programs that are not ours: their lines are only read."""

CHECKED = ("verify", "list", "matrix")
"""Commands whose --only and --skip name checks."""

REFUSED: Any = typer.BadParameter.__base__
"""What typer raises for any wrong usage: it exports but one kind of it."""

ALL = blocks.blocks()
TAGGED = [block for block in ALL if block.is_shell]


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.name)
def test_a_command_block_has_a_tag_and_others_have_none(block: Block) -> None:
    assert not block.has_commands_unsaid, "a fence with the language `sh`, and a tag before it"
    if block.is_shell:
        assert block.tag in blocks.TAGS, f"one of {', '.join(blocks.TAGS)}, as <!-- TAG -->"
        assert block.commands
    else:
        assert block.tag in ("", blocks.OUTPUT)


@pytest.mark.parametrize("block", TAGGED, ids=lambda block: block.name)
def test_its_command_lines_are_ones_that_are_taken(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pr.diff", "traffic.json"):
        Path(name).touch()
    for one in block.commands:
        require_taken(one)


@pytest.mark.parametrize(
    "block", [block for block in TAGGED if block.tag != "parsed"], ids=lambda block: block.name
)
def test_what_is_run_names_what_is_there(block: Block) -> None:
    for one in block.commands:
        assert one.program == "mm-lora"
        context = parsed(one.words)
        if context.info_name == "verify":
            Inputs.read(of_command(context.params))


def require_taken(one: Command) -> None:
    """Fails for a command line that its program would refuse."""
    if one.program == "make":
        require_target(one.words)
    elif one.program == "mm-lora":
        context = parsed(one.words)
        if any(isinstance(each, str) for each in context.params.get("setting") or ()):
            settings_of(context.params["setting"])
        if context.info_name in CHECKED:
            for pattern in patterns(context):
                require_a_check(pattern)
        for name in models(context):
            require_a_model(name)
    else:
        assert one.program in OTHERS, f"{one.program} is not known here"


def parsed(words: tuple[str, ...]) -> typer.Context:
    """The command that these words call, with its parameters; what typer refuses is raised."""
    found: Any = typer.main.get_command(app)
    left = list(words)
    while left and left[0] in getattr(found, "commands", {}):
        found = found.commands[left.pop(0)]
    assert not hasattr(found, "commands"), f"mm-lora {' '.join(words)} calls no command"
    context: typer.Context = found.make_context(found.name, left)
    return context


def require_target(words: tuple[str, ...]) -> None:
    """Fails for what the Makefile has not; ARGS of `make verify` are options of the command."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in words if "=" not in word]
    for target in targets:
        assert re.search(rf"(?m)^{re.escape(target)}:", makefile), f"no target {target}"
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name == "ARGS" and targets == ["verify"]:
            require_taken(blocks.command(f"mm-lora verify {value}"))


def patterns(context: typer.Context) -> Iterator[str]:
    """The checks that a command line selects."""
    for name in ("only", "skip"):
        yield from context.params.get(name) or ()


def models(context: typer.Context) -> Iterator[str]:
    """The models and families that it names."""
    for name in ("model", "family"):
        value = context.params.get(name)
        yield from (value,) if isinstance(value, str) and value else value or ()


def require_a_check(pattern: str) -> None:
    """Fails for a pattern that matches no check of a family's default model."""
    published = registry.published()
    parts = pattern.split("/")
    if is_placeholder(pattern):
        return
    if len(parts) > 1 and parts[1] in published:
        parts[1] = published[parts[1]].published[0]
    ids = [check for case in every_case() for check in case.checks]
    assert any(matches("/".join(parts), check) for check in ids), f"no check is {pattern}"


def require_a_model(name: str) -> None:
    """Fails for a word that is neither a model nor a placeholder."""
    known = {*registry.published(), *registry.families(), "all", "all-families"}
    assert name in known or is_placeholder(name), f"no model {name}"


def is_placeholder(word: str) -> bool:
    """Whether a reader puts something else in its place."""
    return re.search(r"[A-Z]{2,}", word) is not None


@pytest.mark.parametrize(
    "line",
    [
        "mm-lora verify --novel",
        "mm-lora novel",
        "mm-lora verify --only numeric/*",
        "mm-lora verify --set mutants=x",
        "mm-lora tokens noveltower --image 1x1",
        "make novel",
        "make verify ARGS=--novel",
        "novel",
    ],
)
def test_what_is_wrong_is_seen(line: str) -> None:
    with pytest.raises((AssertionError, REFUSED, UsageError)):
        require_taken(blocks.command(line))


def test_a_block_without_a_tag_is_seen() -> None:
    text = "```sh\nmm-lora list\n```\n\n```\nmm-lora list\n```\n\n    mm-lora list\n"
    plain, silent, indented = blocks.blocks_of(text, "x")
    assert plain.is_shell
    assert not plain.tag
    assert silent.has_commands_unsaid
    assert indented.has_commands_unsaid


def test_lines_are_joined_and_what_is_no_command_is_left_out() -> None:
    text = "<!-- run -->\n```sh\n# why\nA=1 mm-lora list \\\n  --full  # all\n\nuv x > y\n```\n"
    (block,) = blocks.blocks_of(text, "x")
    assert block.tag == "run"
    assert block.commands == [Command("mm-lora", ("list", "--full")), Command("uv", ("x",))]
    assert blocks.command("*/15 * * * * mm-lora watch") == Command("mm-lora", ("watch",))


def test_output_is_looked_for_in_its_order() -> None:
    printed = "one  two\nthree\nfour five\n"
    assert blocks.missing(["one two", "…", "four …"], printed) == []
    assert blocks.missing(["three", "one two", "four"], printed) == ["one two", "four"]
