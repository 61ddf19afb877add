"""The options of a run: told on a command line, as pytest's words and in a repeat line, alike."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer.main

from mm_lora.cli.app import app
from mm_lora.core.errors import UsageError
from mm_lora.run.options import RunOptions, of_command, of_words
from mm_lora.run.settings import Settings, settings_of
from mm_lora.run.shards import Shard

OPTIONS: dict[str, Any] = {
    "profile": "gpu",
    "base_url": "http://h:1",
    "model": ("scout", "maverick"),
    "full": True,
    "only": ("dice/*",),
    "skip": ("soak/*",),
    "server_python": Path("/other/python"),
    "reference_python": Path("/third/python"),
    "adapter": ("mine=/x=y",),
    "reports": Path("elsewhere"),
    "with_fixes": True,
    "strict": True,
    "dry_run": True,
    "seed": 7,
}
SETTINGS: dict[str, Any] = {
    "start": "plain",
    "port": 8000,
    "broken": ("all", "alpha"),
    "mutant": ("mutant-forget-cls", "mutant-chunk-lost"),
    "shard": Shard(index=2, count=8),
    "patch": "auto",
    "vllm_patch": Path("x.diff"),
    "strength": 4.0,
    "soak": 0.5,
    "replay": Path("traffic.json"),
}


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunOptions:
    """Options none of which is the default."""
    monkeypatch.chdir(tmp_path)
    for name in ("x.diff", "traffic.json"):
        Path(name).touch()
    return RunOptions(**OPTIONS, settings=Settings(**SETTINGS))


def test_these_tests_tell_every_option() -> None:
    assert set(OPTIONS) == {one.name for one in fields(RunOptions)} - {"settings"}
    assert set(SETTINGS) == {one.name for one in fields(Settings)}


def test_every_option_is_one_of_verify(told: RunOptions) -> None:
    verify = typer.main.get_command(app).commands["verify"]  # type: ignore[attr-defined]
    how_it_is_told = {"setting", "help", "quiet", "verbose"}
    assert {parameter.name for parameter in verify.params} - how_it_is_told == {*OPTIONS}
    parsed = verify.make_context("verify", told.command_line())
    assert of_command(parsed.params) == told


def test_what_is_not_told_is_the_default() -> None:
    assert RunOptions().command_line() == []
    assert of_words([]) == of_command({}) == RunOptions()


def test_the_words_of_pytest_say_the_same(told: RunOptions) -> None:
    line = told.command_line()
    words = []
    while line:
        key = line.pop(0).removeprefix("--")
        switch = key in ("full", "strict", "dry-run", "with-fixes")
        words.append(f"{key}=1" if switch else f"{key}={line.pop(0)}")
    assert of_words(word.replace("set=", "set:") for word in words) == told


@pytest.mark.parametrize("word", ["typo=1", "full", "settings=x", "seed=many", "set:typo=1"])
def test_a_wrong_word_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        of_words([word])


def test_a_switch_can_be_said_to_be_off() -> None:
    assert not of_words(["full=0"]).full
    assert of_words(["full=1", "server-python="]) == RunOptions(full=True)


def test_a_server_that_runs_is_judged_by_the_profile_for_it() -> None:
    assert of_command({"base_url": "http://h:1", "profile": None}).profile == "remote"
    assert of_command({"base_url": "http://h:1", "profile": "mine.toml"}).profile == "mine.toml"


def test_a_line_to_repeat_leaves_out_what_it_is_told_to(told: RunOptions) -> None:
    line = told.command_line(without=("only", "full", "set:shard"))
    assert not {"--only", "--full", "shard=2/8"} & set(line)
    assert {"--skip", "port=8000", "break=all:alpha"} <= set(line)


def test_the_last_of_a_setting_counts() -> None:
    assert settings_of(["port=1", "port=2"]).port == 2
    assert settings_of(["soak=0.123456789"]).words() == {"soak": "0.123456789"}
