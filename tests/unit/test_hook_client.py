"""The way of a question to vLLM's class and back, with the process replaced."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from mm_lora.core.errors import TroubleError
from mm_lora.families.family import VllmClass
from mm_lora.families.flow import HookCase
from mm_lora.serving.hook_client import HookAnswers, HookQuestion, ask_hooks
from mm_lora.serving.server.child import Child

CLASS = VllmClass(module="m", name="M")
QUESTION = HookQuestion(
    "one",
    {"model_type": "m"},
    ("tower.a",),
    (HookCase(label="a picture", tokens=4, tower=None, connector=None),),
)
ANSWER = {"vllm": "0.32.0", "missing": ["m.M"], "models": []}


class FakeChild:
    """Writes what it is told to when it is started, and ends with `code`; None: never."""

    def __init__(self, code: int | None, answer: object = None, says: str = "") -> None:
        self.code, self.answer, self.says = code, answer, says
        self.pid: int | None = None
        self.ended = False
        self.asked: dict[str, object] = {}

    def launch(self, command: Sequence[str], plugin: Path, log: Path) -> Child:
        assert (plugin / "mm_lora_inside" / "hook_query.py").is_file()
        question, answer = map(Path, command[-2:])
        self.asked = json.loads(question.read_text(encoding="utf-8"))
        if self.answer is not None:
            answer.write_text(json.dumps(self.answer), encoding="utf-8")
        log.write_text(self.says, encoding="utf-8")
        return self

    def poll(self) -> int | None:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        if self.code is None:
            raise subprocess.TimeoutExpired("question", timeout or 0)
        return self.code

    def terminate(self) -> None:
        self.ended = True


def ask(child: FakeChild, folder: Path | None = None) -> HookAnswers:
    return ask_hooks(
        Path("/x/python"), CLASS, [QUESTION], patches=["p"], launch=child.launch, folder=folder
    )


def test_the_question_is_whole_and_its_folder_stays_where_one_is_named(tmp_path: Path) -> None:
    child = FakeChild(0, ANSWER)
    assert ask(child, tmp_path / "new").missing == ("m.M",)
    assert child.asked["patches"] == ["p"]
    assert child.asked["class"] == {"module": "m", "name": "M"}
    assert (tmp_path / "new" / "question").is_file()


def test_an_end_without_an_answer_shows_the_last_lines() -> None:
    says = "\n".join(f"line {number}" for number in range(40))
    with pytest.raises(TroubleError) as error:
        ask(FakeChild(1, says=says))
    assert "line 39" in str(error.value)
    assert "line 24" not in str(error.value)


def test_a_process_that_does_not_answer_is_ended() -> None:
    child = FakeChild(None)
    with pytest.raises(TroubleError, match="did not answer within 180 s"):
        ask(child)
    assert child.ended


def test_one_that_runs_is_killed_with_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda pid, sent: killed.append((pid, sent)))
    child = FakeChild(None)
    child.pid = 4711
    with pytest.raises(TroubleError, match="did not answer within 180 s"):
        ask(child)
    assert killed == [(4711, signal.SIGKILL)]
