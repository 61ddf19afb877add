"""`mm-lora build`: what it writes, what it prints, what it refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from PIL import Image

from mm_lora.adapters.spec import AdapterSpec
from mm_lora.cli.commands import build
from mm_lora.core import images
from mm_lora.core.errors import UsageError
from mm_lora.truth import build as builders


class FakeBuilder:
    """Writes a file instead of a model and keeps the last spec."""

    specs: list[AdapterSpec] = []  # noqa: RUF012 - cleared by the fixture
    folder = Path()

    def __init__(self, python: Path, say: Any) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *trouble: object) -> None:
        pass

    def checkpoint(self, model: Any, seed: int) -> Path:
        """A folder with weights of no bytes."""
        (self.folder / "model.safetensors").touch()
        return self.folder

    def adapters(self, model: Any, specs: list[AdapterSpec], *, miniature: bool) -> Any:
        """The first spec, as if it had been built."""
        (self.folder / "adapter_model.safetensors").touch()
        self.specs.append(specs[0])
        rows = [
            {"group": "tower-mlp", "modules": 68, "tensors": 136, "parameters": 1234567},
            {"group": "projector", "modules": 1, "tensors": 2, "parameters": 10},
        ]
        built = SimpleNamespace(path=self.folder, coverage=rows, bytes=5_000_000)
        return {specs[0].name: built}


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No worker is started."""
    monkeypatch.setattr(builders, "Builder", FakeBuilder)
    FakeBuilder.folder = tmp_path / "built"
    FakeBuilder.folder.mkdir()
    FakeBuilder.specs.clear()


def test_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.checkpoint("scout", tmp_path / "out", seed=3) == 0
    assert (tmp_path / "out" / "model.safetensors").exists()
    assert "miniature of scout" in capsys.readouterr().out.replace("\n", " ")


def test_adapter_prints_its_coverage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert build.adapter("all", tmp_path / "out", rank=4, dtype="bfloat16") == 0
    shown = capsys.readouterr().out
    assert "1,234,567" in shown
    assert "1,234,577" in shown  # the sum
    assert "69" in shown
    (spec,) = FakeBuilder.specs
    assert (spec.rank, spec.dtype, spec.alpha) == (4, "bfloat16", 16.0)


def test_adapter_with_own_targets(tmp_path: Path) -> None:
    build.adapter("mine", tmp_path / "a", targets=["*.q_proj"])
    build.adapter("all", tmp_path / "b", targets=["*.q_proj"])
    assert [(spec.name, spec.pattern) for spec in FakeBuilder.specs] == [
        ("mine", r".*\.q_proj"),
        ("all", r".*\.q_proj"),
    ]


def test_unknown_adapter_without_targets(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no adapter 'mine'"):
        build.adapter("mine", tmp_path / "out")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    build.checkpoint("scout", out)  # empty: fine
    for command in (build.checkpoint, build.adapter):
        with pytest.raises(UsageError, match="not an empty folder"):
            command("scout" if command is build.checkpoint else "all", out)


def test_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dice.png"
    assert (
        build.image("dice", file, (200, 100), ["red", "blue", "teal", "green"], [6, 5, 4, 3]) == 0
    )
    shown = capsys.readouterr().out.replace("\n", "")
    assert "red 6, blue 5, teal 4, green 3" in shown
    with Image.open(file) as picture:
        assert picture.size == (200, 100)
        assert images.read_dice(picture)[0] == ("red", 6)


def test_image_of_another_kind(tmp_path: Path) -> None:
    assert build.image("plain", tmp_path / "plain.png", (1, 1)) == 0
    with pytest.raises(UsageError, match="--colour and --pips do not apply"):
        build.image("plain", tmp_path / "plain.png", (1, 1), colours=["red"])
    with pytest.raises(UsageError, match="cannot be written"):
        build.image("plain", tmp_path / "no" / "plain.png", (1, 1))
