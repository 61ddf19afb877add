"""The builder with a worker that needs no torch: keys, the cache, the user's own folder."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mm_lora.adapters.sets import standard
from mm_lora.adapters.spec import of_targets
from mm_lora.core.errors import InstallError, UsageError
from mm_lora.families import registry
from mm_lora.families.models import resolve
from mm_lora.truth import build
from mm_lora.truth.build import Builder

STANDARD = standard(registry.family("llama4"))
ROWS = [{"group": "projector", "modules": 1, "tensors": 2, "parameters": 2048}]
VERSIONS: dict[str, str | None] = dict.fromkeys(
    ("torch", "transformers", "peft", "safetensors", "tokenizers"), "0"
)
"""What the worker's interpreter has."""


class FakeWorker:
    """Answers like the worker and remembers what it was asked."""

    def __init__(self, python: Path, say: Any) -> None:
        self.python = python
        self.asked: list[str] = []
        self.orders: list[dict[str, Any]] = []
        self.closed = False

    def call(self, kind: str, **order: Any) -> dict[str, Any]:
        """One answer per kind; writes a file where a folder is given."""
        self.asked.append(kind)
        self.orders.append(order)
        Path(order["folder"], "file").write_text(json.dumps(order["config"]))
        rows = [] if order.get("spec", {}).get("target_pattern") == "nothing" else ROWS
        return {"coverage": rows, "bytes": 7} if kind == "adapter" else {"bytes": 9}

    def close(self) -> None:
        """Remember it."""
        self.closed = True


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[FakeWorker]:
    """Builders get a FakeWorker and an empty cache."""
    monkeypatch.setattr(build, "WorkerClient", FakeWorker)
    monkeypatch.setattr(build, "facts", lambda python: SimpleNamespace(**VERSIONS))
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path / "cache"))
    return FakeWorker


def new_builder() -> tuple[Builder, FakeWorker]:
    """A builder and its worker."""
    builder = Builder(Path(sys.executable))
    fake: Any = builder._worker
    return builder, fake


@pytest.mark.usefixtures("worker")
def test_built_once_and_shared_between_builders() -> None:
    (first, asked_first), (second, asked_second) = new_builder(), new_builder()
    scout = resolve("scout")
    assert first.checkpoint(scout) == second.checkpoint(scout)
    assert first.adapters(scout, STANDARD.values()) == second.adapters(scout, STANDARD.values())
    assert asked_first.asked == ["checkpoint"] + ["adapter"] * len(STANDARD)
    assert asked_second.asked == []


@pytest.mark.usefixtures("worker")
def test_what_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    builder, _ = new_builder()
    scout, spec = resolve("scout"), STANDARD["projector"]
    folders = {
        builder.checkpoint(scout),
        builder.checkpoint(scout, seed=1),
        builder.checkpoint(resolve("maverick")),
        builder.checkpoint(resolve("pr35147")),
        *(
            builder.adapters(model, [changed], miniature=small)["projector"].path
            for model in (scout, resolve("maverick"))
            for changed in (spec, replace(spec, seed=1), replace(spec, strength=0.0))
            for small in (True, False)
        ),
    }
    assert len(folders) == 4 + 12
    monkeypatch.setitem(VERSIONS, "tokenizers", "1")
    assert new_builder()[0].checkpoint(scout) not in folders


@pytest.mark.usefixtures("worker")
def test_adapter_knows_its_coverage() -> None:
    builder, fake = new_builder()
    built = builder.adapters(resolve("scout"), [STANDARD["projector"]])["projector"]
    assert (built.name, built.bytes, built.modules) == ("projector", 7, 1)
    assert list(built.coverage) == ROWS
    assert fake.orders[0]["config"]["text_config"]["hidden_size"] == 128
    builder.adapters(resolve("scout"), [STANDARD["projector"]], miniature=False)
    assert fake.orders[1]["config"]["text_config"]["hidden_size"] == 5120


@pytest.mark.usefixtures("worker")
def test_own_folder_with_weights_is_used_as_it_is(tmp_path: Path) -> None:
    config = resolve("scout").config
    own = tmp_path / "own"
    own.mkdir()
    (own / "config.json").write_text(json.dumps(config))
    builder, fake = new_builder()
    builder.checkpoint(resolve(str(own)))
    assert fake.asked == ["checkpoint"]  # a config alone: its miniature
    (own / "tokenizer.json").write_text("{}")
    (own / "preprocessor_config.json").write_text("{}")
    (own / "model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        builder.checkpoint(resolve(str(own)))
    head = b"{}"
    (own / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    assert builder.checkpoint(resolve(str(own))) == own
    builder.adapters(resolve(str(own)), [STANDARD["projector"]])
    assert fake.orders[-1]["config"] == config


@pytest.mark.usefixtures("worker")
def test_targets_that_match_nothing() -> None:
    builder, _ = new_builder()
    spec = of_targets("typo", ["nothing"])
    for _ in range(2):  # and nothing of it is kept
        with pytest.raises(UsageError, match="'typo' targets no module of scout"):
            builder.adapters(resolve("scout"), [spec])


@pytest.mark.usefixtures("worker")
def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERSIONS, "peft", None)
    with pytest.raises(InstallError, match="has no peft"):
        new_builder()[0].checkpoint(resolve("scout"))


@pytest.mark.usefixtures("worker")
def test_closes_its_worker() -> None:
    builder, fake = new_builder()
    with builder:
        assert not fake.closed
    assert fake.closed
