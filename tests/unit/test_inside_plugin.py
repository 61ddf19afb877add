"""The plugin's bookkeeping with fake modules: applied, waiting and failed patches in the report."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mm_lora.inside import catalogue, plugin
from mm_lora.inside.registry import Patch
from mm_lora.inside.report import Report


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    fake = ModuleType("fakevllm_here")
    fake.attention = lambda: "theirs"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return fake


def make(identity: str, path: str, *modules: str) -> Patch:
    def make(original: Any) -> Any:
        return lambda: "ours"

    wraps = dict.fromkeys((f"{module}:{path}" for module in modules), make)
    return Patch(id=identity, kind="compat", wraps=wraps, reason="test")


def applied(
    patch: Patch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], Report]:
    monkeypatch.setattr(catalogue, "PATCHES", (patch,))
    report = Report(folder, "0.32.0", "cpu")
    plugin.apply_patches([patch.id], report, "0.32.0", "cpu")
    (written,) = (json.loads(path.read_text()) for path in folder.glob("*.json"))
    return written["patches"][0], report


def test_applied_at_once(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = applied(make("p", "attention", module.__name__), tmp_path, monkeypatch)
    assert (row["state"], row["waiting_for"]) == ("applied", [])
    assert module.attention() == "ours"


def test_waiting_then_applied_is_reported_again(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "fakevllm_later.py").write_text("def attention(): return 'theirs'")
    monkeypatch.syspath_prepend(tmp_path / "code")
    reports = tmp_path / "reports"
    patch = make("p", "attention", module.__name__, "fakevllm_later")
    row, _ = applied(patch, reports, monkeypatch)
    assert (row["state"], row["waiting_for"]) == ("waiting", ["fakevllm_later"])
    import fakevllm_later  # type: ignore[import-not-found]

    (written,) = (json.loads(path.read_text()) for path in reports.glob("*.json"))
    assert written["patches"][0]["state"] == "applied"
    assert fakevllm_later.attention() == "ours"
    del sys.modules["fakevllm_later"]


def test_gone_attribute_and_gone_module_are_errors(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, _ = applied(make("p", "gone", module.__name__), tmp_path / "a", monkeypatch)
    assert row["state"] == "error"
    assert "fakevllm_here:gone" in row["error"]
    row, _ = applied(make("p", "x", "fakevllm_nowhere"), tmp_path / "b", monkeypatch)
    assert row["state"] == "error"
    assert "fakevllm_nowhere is gone" in row["error"]


def test_an_exception_in_a_patch_is_an_error_of_that_patch(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(module: ModuleType) -> None:
        raise KeyError("oops")

    points = (f"{module.__name__}:attention",)
    patch = Patch(id="p", kind="fix", needs=points, adds=apply, reason="test")
    row, _ = applied(patch, tmp_path, monkeypatch)
    assert (row["state"], row["error"]) == ("error", "fakevllm_here: KeyError: 'oops'")


def test_a_report_that_cannot_be_written_raises_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    Report(tmp_path / "file" / "below", "0.32.0", "cpu").write()


def test_notes_and_errors_are_in_the_report(tmp_path: Path) -> None:
    report = Report(tmp_path, "0.32.0", "cpu")
    report.notes["start"] = "fast"
    report.error("first")
    report.error("second")
    (written,) = (json.loads(path.read_text()) for path in tmp_path.glob("*.json"))
    assert (written["error"], written["start"]) == ("first", "fast")
    assert written["role"] == "other"


def test_without_a_config_the_plugin_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(plugin.CONFIG_VARIABLE, raising=False)
    plugin.register()
    assert plugin._registered_in == 0
