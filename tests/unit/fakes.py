"""Stand-ins for what a conductor works with: a context, a pool, progress and signals."""

from typing import Any

from mm_lora.core.record import Run
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.timings import Timings
from mm_lora.run.inputs import Inputs
from mm_lora.run.tolerances import Allowed


class FakePool:
    """Notes what it is told; `broken`: what the start of a server raises."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.broken: Exception | None = None
        self.ready = True

    def prefetch(self, spec: Any) -> None:
        self.calls.append(("prefetch", spec.model))

    def release(self, spec: Any) -> None:
        self.calls.append(("release", spec.model))

    def is_ready(self, spec: Any) -> bool:
        return self.ready

    def get(self, spec: Any) -> None:
        if self.broken:
            raise self.broken


class FakeAsker:
    """Notes which servers' crashes were explained."""

    def __init__(self) -> None:
        self.explained_on: list[str] = []
        self.deadly = False

    def explained(self, spec: Any) -> None:
        self.explained_on.append(spec.model)


class FakeContext:
    """A run's context that starts nothing. `trouble`: method → what it raises."""

    def __init__(self, inputs: Inputs, folder: RunFolder, progress: Any) -> None:
        self.inputs = inputs
        self.folder = folder
        self.run = Run(profile=inputs.profile.name, argv=[], seed=0, started="now")
        self.timings = Timings()
        self.pool = FakePool()
        self.asker = FakeAsker()
        self.calls: list[str] = []
        self.trouble: dict[str, Exception] = {}

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.trouble:
            raise self.trouble[call]

    def look_around(self) -> None:
        self.run.vllm = {"version": "0.32.0"}
        self._note("look_around")

    def attach(self, specs: Any) -> None:
        self._note("attach")

    def begin_import(self, spec: Any) -> None:
        self._note("begin_import")

    def require_files(self, models: Any) -> None:
        self._note("require_files")

    def answer_ahead(self, expected: Any) -> None:
        self._note("answer_ahead")

    def tune(self, served: Any) -> Allowed:
        self._note("tune")
        return Allowed(tolerance=0.03, min_effect=0.15, same=0.03, note="noisy")

    def save(self) -> None:
        self._note("save")

    def close(self) -> None:
        self._note("close")


class Quiet:
    """A progress that says nothing, and signals that reach nobody."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.lefts: list[tuple[float | None, bool]] = []
        self.handler: Any = None
        self.ignored = False

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, text: str) -> None:
        self.said.append(text)

    def expect(self, total: int) -> None:
        pass

    def left(self, seconds: float | None, *, at_least: bool = False) -> None:
        self.lefts.append((seconds, at_least))

    def checking(self, check_id: str) -> None:
        pass

    def checked(self, check_id: str, outcome: str, duration_s: float) -> None:
        pass

    def catch(self, handler: Any) -> None:
        self.handler = handler

    def ignore(self) -> None:
        self.ignored = True
