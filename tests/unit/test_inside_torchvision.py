"""The work-around for torchvision's operators: arranged early, and only where they do not load."""

import sys
from types import ModuleType

import pytest

from mm_lora.inside import hooks, torchvision_schemas


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_schemas, "_kept", [])
    monkeypatch.setattr(hooks, "_waiting", {})
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)


def test_it_waits_for_torchvision_once() -> None:
    assert torchvision_schemas.declare()
    assert torchvision_schemas.declare()
    assert len(hooks._waiting["torchvision.extension"]) == 1


def test_after_torchvision_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    assert not torchvision_schemas.declare()
    assert not hooks._waiting


def test_operators_that_load_are_left_alone() -> None:
    extension = ModuleType("torchvision.extension")
    extension._has_ops = lambda: True  # type: ignore[attr-defined]
    torchvision_schemas._after_extension(extension)
    assert "torch" not in sys.modules
    assert not torchvision_schemas._kept
