"""Files into typed values: every key and type is checked, and the message names file and key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mm_lora.checks import defects
from mm_lora.core import typed
from mm_lora.core.errors import TroubleError, UsageError
from mm_lora.serving import hook_client


@dataclass(frozen=True)
class Leaf:
    size: int
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("a size is not negative")


@dataclass(frozen=True, kw_only=True)
class Tree:
    name: str
    leaf: Leaf = Leaf(0)
    several: tuple[Leaf, ...] = ()
    named: Mapping[str, Leaf] = field(default_factory=dict)
    perhaps: Leaf | None = None
    free: Mapping[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name = 3", "name: Expected `str`"),
        ("", "required field `name`"),
        ("name = 'a'\nnmae = 'b'", "unknown key 'nmae'.*known: name, leaf"),
        ("name = 'a'\nleaf = {size = 1, sise = 2}", r"\[leaf\] unknown key 'sise'"),
        ("name = 'a'\nseveral = [{size = 1}, {size = 1, x = 2}]", r"\[several\[1\]\] .*'x'"),
        ("name = 'a'\nnamed.one = {size = 1, x = 2}", r"\[named\.one\] unknown key 'x'"),
        ("name = 'a'\nperhaps = {size = 1, x = 2}", r"\[perhaps\] unknown key 'x'"),
        ("name = 'a'\nleaf = 3", "leaf: Expected `object`"),
        ("name = 'a'\nleaf = {size = 'x'}", r"leaf\.size: Expected `int`"),
        ("name = 'a'\nleaf = {size = true}", r"leaf\.size: Expected `int`"),
        ("name = 'a'\nleaf = {size = -1}", "leaf: a size is not negative"),
        ("name = ", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=rf"(?s)mine\.toml.*{why}"):
        typed.read_toml(file, Tree)


def test_a_right_file_is_the_value(tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    data = {"name": "a", "several": [{"size": 1, "words": ["x"]}], "free": {"any": {"thing": 1}}}
    file.write_text(json.dumps(data))
    found = typed.read_json(file, Tree)
    assert found == Tree(name="a", several=(Leaf(1, ("x",)),), free={"any": {"thing": 1}})


def test_a_file_that_is_not_there_or_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_bytes(b"\xff{")
    for name in ("broken.json", "absent.json"):
        with pytest.raises(UsageError, match=f"{name} cannot be read.*\n  check: me"):
            typed.read_json(tmp_path / name, Tree, "me")


@pytest.mark.parametrize("change", ["fixx = 'a'", "checks = 'all'", "by_chance = 'no'"])
def test_a_wrong_entry_of_known_defects_is_named(tmp_path: Path, change: str) -> None:
    keys = ("id", "versions", "platform", "symptom", "signature", "expected", "observed", "cause")
    lines = [f"{key} = 'x'" for key in (*keys, "searched", "fix")]
    key = change.partition(" ")[0]
    lines += [] if key == "checks" else ["checks = ['*']"]
    file = tmp_path / "known.toml"
    file.write_text("\n".join(["[[defect]]", *lines, "upstream = []", change]))
    with pytest.raises(UsageError, match=rf"known\.toml: .*{key}"):
        defects.load(file)


def test_the_answers_of_vllms_class_are_typed() -> None:
    model = {
        "name": "scout",
        "mapping": {"tower_model": ["vision_model."]},
        "wrappers": {"a": "tower", "b": None},
        "counts": [{"tokens": 144, "tower": 577, "connector": 144}, {"tokens": 1, "raised": "No"}],
    }
    whole = {"vllm": "0.32.0", "missing": [], "generation": "pair", "flag": True}
    answers = hook_client.parse({**whole, "models": [model]})
    assert answers.models["scout"].mapping == {"tower_model": ("vision_model.",)}
    assert answers.models["scout"].counts[1] == hook_client.HookCount(1, raised="No")
    lost = hook_client.parse({"vllm": "0.32.0", "missing": ["the class"], "models": []})
    assert (lost.generation, lost.flag, lost.missing) == (None, None, ("the class",))
    with pytest.raises(TroubleError, match="missing"):
        hook_client.parse({**whole, "missing": 3, "models": []})
