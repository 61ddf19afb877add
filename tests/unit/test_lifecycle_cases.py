"""The life-cycle cases with a server that refuses: nothing is left for the next check."""

import importlib.util
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mm_lora.checks.judging import Judge
from mm_lora.checks.lifecycle import guest
from mm_lora.checks.refusal import Offered, judge_refused
from mm_lora.core.asking import Answer
from mm_lora.core.errors import ServerDied
from mm_lora.core.outcomes import NotPassed
from mm_lora.core.record import Run
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.table import Table
from mm_lora.families import registry
from mm_lora.serving.server.spec import ServerSpec

CASES = Path(__file__).resolve().parents[2] / "cases"


def case(name: str, function: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"case_{name}", CASES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, function)


class Server:
    """Refuses each load, and lists the adapter all the same."""

    base = "base"
    family = registry.family("llama4")

    def __init__(self, tmp_path: Path) -> None:
        self.spec = ServerSpec(model="scout", adapters=("vision-adapter",))
        self.folder = RunFolder(tmp_path)
        self.listed: list[str] = []
        self.context: Any = self
        self.pool = self
        self.path = tmp_path
        self.has_reference = True
        self.run = Run(profile="cpu", argv=[], seed=0, started="")
        self.alive = True

    def table(self, *told: Any, **more: Any) -> Table:
        return self.run.tables.named(*told, **more)

    def is_ready(self, spec: ServerSpec) -> bool:
        return self.alive

    def built(self, name: str) -> Path:
        folder = self.path / "built" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
        return folder

    def load(self, name: str, path: Path | None = None, *, in_place: bool = False) -> Any:
        self.listed.append(name)
        return 500, "refused"

    def unload(self, name: str) -> Any:
        if not self.alive:
            raise ServerDied("gone")
        self.listed = [one for one in self.listed if one != name]
        return 200, ""

    def ask_again(self, request: Any) -> Answer:
        return self.ask_cold(request)

    def ask_cold(self, request: Any) -> Answer:
        known = request.model in ("base", *self.spec.adapters, *self.listed)
        return Answer(
            model=request.model,
            text="t",
            token_ids=(1,),
            logprobs=(-1.0,),
            prompt_tokens=1,
            completion_tokens=request.max_tokens,
            finish_reason="length",
            status=200 if known else 404,
        )

    def forced(self, request: Any, answer: Answer, **more: Any) -> Any:
        same = {"adapted": answer.logprobs, "base": answer.logprobs, "mistaken": {}}
        return type("Truth", (), same)


@pytest.mark.parametrize(
    ("function", "more"),
    [
        ("test_unload", {}),
        ("test_replaced", {"how": "same-name", "part": "tower"}),
        ("test_new_bytes", {"how": "reloaded", "part": "tower"}),
        ("test_loaded_once", {}),
    ],
)
def test_a_refused_load_leaves_nothing(tmp_path: Path, function: str, more: Any) -> None:
    served = Server(tmp_path)
    told = {"model": "scout", "served": served, "check": Judge(tolerance=1e-3, min_effect=0.05)}
    run = case("test_lifecycle", function)
    if "context" in run.__code__.co_varnames[: run.__code__.co_argcount]:
        told["context"] = served
    with pytest.raises(NotPassed, match="was refused"):
        run(**told, **more)
    assert served.listed == []


def test_a_refused_adapter_that_stays_meets_no_other_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: Any = Server(tmp_path)
    check = Judge(tolerance=1e-3, min_effect=0.05)
    monkeypatch.setattr(Answer, "problems", lambda *told: [])
    served.load("bad")
    with pytest.raises(NotPassed, match="still listed"):
        judge_refused(served, served, check, "bad", "what", Offered(400, "no"), "no")
    assert served.listed == []
    served.load("base")
    with suppress(NotPassed):
        judge_refused(served, served, check, "base", "what", Offered(200, ""), "no")
    assert served.listed == []


def test_a_server_that_died_is_not_started_again_to_be_left_clean(tmp_path: Path) -> None:
    served: Any = Server(tmp_path)
    with guest(served, "x"):
        served.alive = False
