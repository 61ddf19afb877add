"""Servers that start nothing: each lives, refuses or dies as its test tells it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_lora.core.asking import Answer, Request
from mm_lora.core.errors import ServerDied
from mm_lora.serving.server.spec import ServerSpec


class FakeServer:
    """`ends`: what waiting for it raises. `hold`: it is not ready before this is set."""

    base_url = "http://fake"
    command = ("vllm",)
    start_mode = "fast"
    ready_s = 1.0

    def __init__(self, spec: ServerSpec, folder: Path, ends: Exception | None = None) -> None:
        self.spec = spec
        self.log = folder / "server.log"
        self.environment: dict[str, str] = {}
        self.patches: list[Any] = []
        self.ends = ends
        self.hold: threading.Event | None = None
        self.calls: list[str] = []
        self.death: ServerDied | None = None

    def start(self) -> None:
        self.calls.append("start")

    def wait_ready(self) -> None:
        if self.hold is not None:
            assert self.hold.wait(10)
        if "stop" in self.calls:
            raise ServerDied("it was stopped")
        if self.ends is not None:
            raise self.ends

    def stop(self) -> None:
        self.calls.append("stop")
        if self.hold is not None:
            self.hold.set()


@dataclass(frozen=True)
class FakePrepared:
    """Makes fakes; `made` keeps them all, `script` says what becomes of each in turn."""

    spec: ServerSpec
    made: list[FakeServer] = field(default_factory=list)
    script: list[Any] = field(default_factory=list)

    @property
    def adapters(self) -> dict[str, Path]:
        return {name: Path("/adapters", name) for name in self.spec.adapters}

    def server(
        self,
        folder: Path,
        say: Callable[[str], None] | None = None,
        cradles: object = None,
    ) -> FakeServer:
        step = self.script.pop(0) if self.script else None
        one = FakeServer(self.spec, folder, step if isinstance(step, Exception) else None)
        if isinstance(step, threading.Event):
            one.hold = step
        self.made.append(one)
        return one


def answer(request: Request, status: int = 200) -> Answer:
    """A plain answer to a request."""
    return Answer(
        model=request.model,
        text=request.text,
        token_ids=(1,),
        logprobs=(-1.0,),
        prompt_tokens=1,
        completion_tokens=1,
        finish_reason="length",
        status=status,
    )


class FakeClient:
    """Answers as `reply` does; notes what else it is told."""

    def __init__(self, reply: Callable[[Request], Answer] = answer) -> None:
        self.reply = reply
        self.healthy = True
        self.calls: list[str] = []
        self.loaded: list[str] = []
        self.refuses: dict[str, Exception | str] = {}

    def post(self, path: str, body: Any = None) -> tuple[int, str]:
        assert path == "/v1/load_lora_adapter"
        name = body["lora_name"]
        self.loaded.append(name)
        said = self.refuses.get(name, "")
        if isinstance(said, Exception):
            raise said
        return (500, said) if said else (200, "")

    def ask(self, request: Request) -> Answer:
        return self.reply(request)

    def ask_fresh(self, request: Request, fresh: str, within_s: float) -> Answer:
        return self.reply(request)

    def is_healthy(self) -> bool:
        return self.healthy

    def hold(self) -> bool:
        self.calls.append("hold")
        return True

    def release(self) -> None:
        self.calls.append("release")

    def close(self) -> None:
        self.calls.append("close")
