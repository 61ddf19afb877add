"""The reference's answers are kept for what a checkpoint holds, whatever its folder is called."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mm_lora.core.asking import Request
from mm_lora.core.cache import Cache, folder_key
from mm_lora.families import registry
from mm_lora.truth import reference as module
from mm_lora.truth.reference import Forced, Reference

LARGE = b"w" * (4 * 2**20 + 1)


class Worker:
    """Answers each question with another number."""

    python = Path("python")

    def __init__(self) -> None:
        self.calls = 0

    def call(self, job: str, **question: Any) -> dict[str, Any]:
        self.calls += 1
        answer = {"token_ids": [1], "adapted": [-float(self.calls)], "base": [-1.0]}
        return {**answer, "prompt_tokens": 3, "ties": [], "predicted": {}, "peft": None}


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setenv("MM_LORA_CACHE", str(tmp_path / "cache"))
    versions = SimpleNamespace(torch="1", transformers="1")
    monkeypatch.setattr(module, "facts", lambda python: versions)
    return Worker()


def asked(worker: Any, checkpoint: Path, token_ids: tuple[int, ...] | None = (1,)) -> Forced:
    """As a run of its own asks it."""
    return Reference(worker).forced(
        side=registry.family("llama4").torch_side,
        checkpoint=checkpoint,
        adapter=None,
        request=Request(model="base"),
        token_ids=token_ids,
    )


def model(folder: Path, weights: bytes = LARGE) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    os.utime(folder / "model.safetensors", ns=(1, 1))
    return folder


def test_two_models_of_one_name_have_two_truths(tmp_path: Path, worker: Worker) -> None:
    one = model(tmp_path / "a" / "mine")
    other = model(tmp_path / "b" / "mine", weights=LARGE + b"+")
    assert asked(worker, one) != asked(worker, other)
    assert worker.calls == 2
    assert asked(worker, one) == asked(worker, one)
    assert worker.calls == 2


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_that_is_changed_in_place_is_asked_again(
    tmp_path: Path, worker: Worker, file: str
) -> None:
    mine = model(tmp_path / "mine")
    before = asked(worker, mine)
    changed = mine / file
    if file == "model.safetensors":  # trained again: as many bytes, at another time
        changed.write_bytes(LARGE[::-1])
        os.utime(changed, ns=(2, 2))
    else:  # edited, as many bytes, by a tool that keeps the time
        changed.write_text("[]")
        os.utime(changed, ns=(1, 1))
    assert asked(worker, mine) != before


def test_a_copy_and_a_built_checkpoint_are_known_by_what_they_are(
    tmp_path: Path, worker: Worker
) -> None:
    mine = model(tmp_path / "mine")
    copy = Path(shutil.copytree(mine, tmp_path / "copy"))
    (copy / ".hidden").touch()
    assert folder_key(copy) == folder_key(mine)
    built, _ = Cache("checkpoints", print).get("scout", {"seed": 0}, lambda folder: {})
    assert built.name.endswith(folder_key(built))
    # A copy of a built one may be trained on: its manifest no longer says what it is.
    moved = Path(shutil.copytree(built, tmp_path / built.name))
    assert folder_key(moved) != folder_key(built)


def test_what_the_reference_says_itself_is_known_for_that_answer_too(
    tmp_path: Path, worker: Worker
) -> None:
    mine = model(tmp_path / "mine")
    first = asked(worker, mine, token_ids=None)
    assert asked(worker, mine, token_ids=(1,)) == first
    assert worker.calls == 1


def test_a_damaged_answer_is_asked_again(tmp_path: Path, worker: Worker) -> None:
    mine = model(tmp_path / "mine")
    asked(worker, mine)
    (file,) = (tmp_path / "cache" / "reference").iterdir()
    for damage in ("", "{", "[]", '{"token_ids": [1]}', '{"token_ids": "no"}'):
        file.write_text(damage)
        asked(worker, mine)
    assert worker.calls == 6
