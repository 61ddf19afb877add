"""Measuring a 16-bit server: weak adapters are built stronger, and trouble is said and bounded."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from mm_lora.core.asking import Answer, Request
from mm_lora.core.errors import ServerError
from mm_lora.core.record import Run
from mm_lora.core.table import Table
from mm_lora.families import registry
from mm_lora.run.profiles import load
from mm_lora.run.tuning import ROUNDS, Tuning
from mm_lora.serving.server.process import VllmServer
from mm_lora.serving.server.spec import ServerSpec

SPEC = ServerSpec(model="scout", adapters=("projector",))
LEAST = 0.078125
"""The least effect where no noise is measured: five last places of a bf16 logprob near -3."""


class Workshop:
    """A run's context; the effect of an adapter grows with its factor."""

    def __init__(self, effect: float) -> None:
        self.effect = effect
        self.factor = 1.0
        self.factors: list[float] = []
        self.kept: list[str] = []
        self.profile = load("rehearsal")
        self.options = SimpleNamespace(base_url="")
        self.progress = SimpleNamespace(say=lambda line: None)
        self.run = Run(profile="rehearsal", argv=[], seed=0, started="")
        self.cannot_see: list[str] = []
        self.told: list[str] = []
        self.builds = self.factors_of()
        server = object.__new__(VllmServer)
        record = SimpleNamespace(label="1-scout")
        started = SimpleNamespace(refused={}, absent={}, record=record, server=server)
        self.pool = SimpleNamespace(get=lambda spec: started)

    def factors_of(self) -> Any:
        factors = SimpleNamespace(
            factor=lambda builder, model, family: self.factor,
            keep=lambda builder, model, family: self.kept.append(family),
        )
        return SimpleNamespace(factors=factors, builder=None, strengthen=self.strengthen)

    def strengthen(self, model: str, factors: dict[str, float]) -> None:
        self.factor = factors["projector"]
        self.factors.append(self.factor)

    def tell_limits(self) -> None:
        self.told = list(self.cannot_see)

    def table(self, *told: Any, **more: Any) -> Table:
        return self.run.tables.named(*told, **more)

    def model(self, name: str) -> str:
        return name

    def adapters(self, model: str, names: Sequence[str]) -> dict[str, Any]:
        return {name: SimpleNamespace(spec=SimpleNamespace(strength=self.factor)) for name in names}


class Served:
    """Answers the same to everybody, but for the adapter's effect."""

    base = "base"
    family = registry.family("llama4")
    spec = SPEC

    def __init__(self, context: Workshop) -> None:
        self.context = context
        self.restarts = 0
        self.trouble: Exception | None = None

    def ask(self, request: Request) -> Answer:
        if self.trouble:
            raise self.trouble
        moved = self.context.effect * self.context.factor if request.model == "projector" else 0.0
        value = -3.0 + moved
        top = [{"token": "a", "logprob": value}, {"token": "b", "logprob": -3.0}]
        return Answer(
            model=request.model,
            text="t",
            token_ids=(1,) * request.max_tokens,
            logprobs=(value,) * request.max_tokens,
            prompt_tokens=9,
            completion_tokens=request.max_tokens,
            finish_reason="length",
            raw={"choices": [{"logprobs": {"content": [{"top_logprobs": top}]}}]},
        )

    ask_again = ask_cold = ask

    def ask_all(self, requests: Sequence[Request]) -> list[Answer]:
        return [self.ask(request) for request in requests]

    def restart(self) -> None:
        self.restarts += 1


def measured(effect: float) -> tuple[Workshop, Served, Any]:
    context = Workshop(effect)
    served = Served(context)
    return context, served, Tuning(context, served).allowed()  # type: ignore[arg-type]


def test_a_strong_adapter_is_left_as_it_is() -> None:
    context, served, allowed = measured(0.5)
    assert allowed.min_effect == LEAST
    assert (served.restarts, context.factors, context.kept) == (0, [], [])
    ((server, name, strength, *_),) = context.run.tables["strength"].rows
    assert (server, name, strength) == ("1-scout", "projector", "1")


def test_a_weak_one_is_built_stronger_and_the_factor_kept() -> None:
    context, served, _ = measured(0.04)
    assert (served.restarts, context.factors, context.kept) == (1, [4.0], ["projector"])
    assert "4 (4 times what it was)" in str(context.run.tables["strength"].rows)
    assert len(context.told) == 2


def test_one_that_does_nothing_is_given_up_at_its_strongest() -> None:
    context, served, _ = measured(0.0)
    assert context.factors == [16.0]
    assert 0 < served.restarts <= ROUNDS
    assert context.kept == []


def test_what_cannot_be_measured_is_judged_by_the_profile_and_says_so() -> None:
    context = Workshop(0.5)
    served = Served(context)
    served.trouble = ServerError("no answer\nmore")
    allowed = Tuning(context, served).allowed()  # type: ignore[arg-type]
    assert allowed.tolerance == context.profile.tolerance
    assert allowed.note == "noise could not be measured: no answer"
    assert context.run.tables["noise"].shown()[0][1] == "not measured"
