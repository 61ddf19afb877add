"""Hooks on modules, with fake ones: nothing that is gone passes silently."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mm_lora.inside import hooks

SOURCE = """
def double(x):
    return 2 * x

class Layer:
    def forward(self, x):
        return x + 1

    @classmethod
    def named(cls, x):
        return cls.__name__ + x

    @staticmethod
    def plain(x):
        return x
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package `fakevllm` with `core`, and `user`, which binds core's function by name."""
    folder = tmp_path / "fakevllm"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "core.py").write_text(SOURCE)
    (folder / "user.py").write_text("from fakevllm.core import double\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "fakevllm"
    for name in [name for name in sys.modules if name.partition(".")[0] == "fakevllm"]:
        del sys.modules[name]
    hooks._waiting.clear()


def plus(amount: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: original(*args) + amount

    return make


def replace_double(module: ModuleType) -> None:
    hooks.replace(module, "double", plus(100))


def test_waiting_action_runs_right_after_the_import(package: str) -> None:
    seen: list[str] = []
    assert not hooks.when_imported("fakevllm.core", lambda module: seen.append(module.__name__))
    importlib.import_module(package)
    assert seen == []
    core = importlib.import_module("fakevllm.core")
    assert seen == ["fakevllm.core"]
    assert core.__spec__ is not None
    assert type(core.__spec__.loader).__name__ == "SourceFileLoader"


def test_by_name_imports_get_the_replacement(package: str) -> None:
    hooks.when_imported("fakevllm.core", replace_double)
    assert importlib.import_module("fakevllm.user").double(1) == 102


def test_loaded_module_is_acted_on_at_once_and_names_are_rebound(package: str) -> None:
    user = importlib.import_module("fakevllm.user")
    assert hooks.when_imported("fakevllm.core", replace_double)
    assert user.double(1) == 102


def test_methods_of_every_kind(package: str) -> None:
    core = importlib.import_module("fakevllm.core")
    hooks.replace(core, "Layer.forward", plus(10))
    hooks.replace(core, "Layer.named", plus("!"))
    hooks.replace(core, "Layer.plain", plus(5))
    assert core.Layer().forward(1) == 12
    assert core.Layer.named("x") == "Layerx!"
    assert core.Layer().plain(1) == core.Layer.plain(1) == 6


@pytest.mark.parametrize("path", ["gone", "Gone.forward", "Layer.gone"])
def test_gone_attributes_are_named(package: str, path: str) -> None:
    core = importlib.import_module("fakevllm.core")
    with pytest.raises(hooks.HookGone, match=f"fakevllm.core:{path}"):
        hooks.replace(core, path, plus(1))


def test_gone_modules_are_seen_without_importing(package: str) -> None:
    assert hooks.module_exists("fakevllm.core")
    assert hooks.module_exists("fakevllm")
    assert not hooks.module_exists("fakevllm.gone")
    assert not hooks.module_exists("nowhere.at.all")
    assert "fakevllm" not in sys.modules


def test_two_actions_both_run(package: str) -> None:
    hooks.when_imported("fakevllm.core", replace_double)
    hooks.when_imported("fakevllm.core", replace_double)
    assert importlib.import_module("fakevllm.core").double(1) == 202
