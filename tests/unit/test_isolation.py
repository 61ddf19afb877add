"""What counts as a batch, what is a wrong answer, and that a soak's traffic can be sent again."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from mm_lora.checks.isolation import soak
from mm_lora.checks.isolation.batches import Batches, Reuse, batches, reuse
from mm_lora.checks.isolation.questions import everyone, questions
from mm_lora.checks.isolation.questions import request_for as request_of
from mm_lora.checks.isolation.traffic import LAST_SLOT, LONGEST, Seen, Traffic, Wrong
from mm_lora.checks.running import Served
from mm_lora.core.asking import Answer, Request
from mm_lora.core.errors import UsageError
from mm_lora.core.outcomes import Outcome
from mm_lora.core.run_folder import RunFolder
from mm_lora.families import registry
from mm_lora.run.settings import settings_of
from mm_lora.serving.probe_records import Request as Scheduled
from mm_lora.serving.probe_records import Step

LLAMA4 = registry.family("llama4")


def asked(tenant: str, question: str, max_tokens: int = 16) -> Request:
    return request_of(LLAMA4, tenant, question, max_tokens)


def step(number: int, *requests: tuple[str, str | None, int], kind: str = "language") -> Step:
    return Step(
        worker="w",
        seq=number,
        number=number,
        kind=kind,
        requests=tuple(Scheduled(name, adapter, n, ()) for name, adapter, n in requests),
        calls=(),
    )


def test_one_tenant_makes_no_batch() -> None:
    steps = [step(1, ("a", "x", 9), ("b", "x", 1)), step(2, ("c", None, 5))]
    assert batches(steps) == Batches(adapters=1)


def test_a_batch_of_two_tenants() -> None:
    steps = [
        step(1, ("a", "x", 256), ("b", None, 1), kind="encoder"),
        step(1, ("a", "x", 256), ("b", None, 1), kind="encoder"),
        step(1, ("a", "x", 256), ("b", None, 1)),
        step(2, ("a", "x", 100), ("c", "y", 30)),
        step(3, ("a", "x", 1), ("c", "y", 1)),
    ]
    seen = batches(steps)
    assert seen == Batches(encoder=1, language=3, decoding=1, pieces=1, adapters=2)
    assert seen.lacks({"encoder": 1, "decoding": 2}) == ["decoding: 1, at least 2"]


def test_the_ranks_of_one_server_are_not_counted_twice() -> None:
    one = step(1, ("a", "x", 5), ("b", None, 1))
    assert batches([one, Step(**{**vars(one), "worker": "v"})]).language == 1
    assert batches([]) == Batches()


def answer(request: Request, logprobs: Sequence[float], ids: Sequence[int] = ()) -> Answer:
    return Answer(
        model=request.model,
        text="x",
        token_ids=tuple(ids or range(len(logprobs))),
        logprobs=tuple(logprobs),
        prompt_tokens=7,
        completion_tokens=len(logprobs),
        finish_reason="length",
    )


class Known:
    """A server whose answers alone are a tenant's own constant.

    The reference: what was answered, but for -9 as the last logprob.
    """

    base = "base"
    family = LLAMA4
    context = SimpleNamespace(has_reference=True)
    values: ClassVar = {"base": -1.0, "projector": -2.0, "all": -3.0}

    def __init__(self) -> None:
        self.alone: dict[Request, Answer] = {}
        uses = [SimpleNamespace(slot=slot) for slot in (0, 1)]
        self.slots = 3
        self.probe = SimpleNamespace(
            workers=lambda: [SimpleNamespace(slots=self.slots)], adapters=lambda: uses
        )

    def ask_alone(self, request: Request) -> Answer:
        given = answer(request, [self.values[request.model]] * LONGEST)
        return self.alone.setdefault(request, given)

    def forced(self, request: Request, given: Answer, *, predict: bool) -> Any:
        return SimpleNamespace(adapted=(*given.logprobs[:-1], -9.0), ties=(), predicted={})


@pytest.fixture
def traffic() -> Traffic:
    made = Traffic(cast(Served, Known()), 1e-3)
    made.learn([asked(tenant, "one") for tenant in Known.values])
    return made


def test_a_shorter_answer_is_the_beginning_of_the_one_alone(traffic: Traffic) -> None:
    request = asked("projector", "one", 6)
    seen = traffic.judged([request], [answer(request, [-2.0005] * 6)])
    assert seen.wrong == ()
    assert seen.error == pytest.approx(5e-4)
    assert seen.effect == 1.0
    assert seen.verdict(tolerance=1e-3, min_effect=0.05).outcome is Outcome.PASS
    assert seen.verdict(tolerance=1e-3, min_effect=2.0).outcome is Outcome.VOID


def test_the_tenant_whose_answer_it_is_is_named(traffic: Traffic) -> None:
    request = asked("projector", "one", 6)
    seen = traffic.judged([request], [answer(request, [-3.0] * 6)])
    assert seen.wrong == (Wrong(request=request, error=6.0, like="all"),)
    assert seen.unexplained
    assert seen.verdict(tolerance=1e-3, min_effect=0.05).outcome is Outcome.FAIL


def test_the_reference_can_overrule_where_rounding_decides(traffic: Traffic) -> None:
    request = asked("projector", "one", 3)
    assert traffic.error(request, answer(request, [-2.0, -2.0, -9.0], [0, 77, 2])) == 0.0
    assert traffic.error(request, answer(request, [-2.0, -2.0, -8.0], [0, 77, 2])) == 1.0


@pytest.mark.parametrize(
    ("tenant", "slots", "beside", "predicted"),
    [
        ("base", 2, "all", True),
        ("base", 3, "all", False),  # the last slot is free: nothing can be taken from it
        ("base", 2, None, False),  # alone in its step
        ("projector", 2, "all", False),  # an adapter has a slot of its own
    ],
)
def test_only_what_the_defect_can_do_is_predicted(
    tenant: str, slots: int, beside: str | None, predicted: bool
) -> None:
    server = Known()
    server.slots = slots
    request = asked(tenant, "one", 3)
    given = Answer(**{**vars(answer(request, [-7.0] * 3)), "id": "r1"})
    adapter = None if tenant == "base" else tenant
    steps = [step(1, ("r1-0", adapter, 3), ("r2-0", beside, 1))]
    traffic = Traffic(cast(Served, server), 1e-3)
    traffic.learn([request])
    seen = traffic.judged([request], [given], steps)
    assert seen.unexplained is not predicted
    verdict = seen.verdict(tolerance=1e-3, min_effect=0.0)
    assert (LAST_SLOT in verdict.predicted_by) is predicted


def test_one_answer_that_is_not_predicted_is_enough() -> None:
    one = Wrong(request=asked("base", "text"), error=1.0, like=None, signature=LAST_SLOT)
    other = Wrong(request=asked("all", "text"), error=1.0, like=None)
    assert Seen(wrong=(one,)).verdict(tolerance=1, min_effect=0).predicted_by == (LAST_SLOT,)
    assert Seen(wrong=(one, other)).verdict(tolerance=1, min_effect=0).predicted_by == ()


def test_what_caches_spared_is_counted() -> None:
    request = asked("all", "two-pictures", 3)
    given = Answer(**{**vars(answer(request, [-3.0] * 3)), "id": "r1"})  # 7 prompt tokens
    encoder = Step(
        worker="w",
        seq=1,
        number=1,
        kind="encoder",
        requests=(Scheduled("r1-0", "all", 5, (0,)),),
        calls=(),
    )
    steps = [encoder, step(1, ("r1-0", "all", 5)), *(step(n, ("r1-0", "all", 1)) for n in (2, 3))]
    assert reuse(steps, [(request, given)]) == Reuse(prompts=1, pictures=1)
    cold = [encoder, step(1, ("r1-0", "all", 7)), *(step(n, ("r1-0", "all", 1)) for n in (2, 3))]
    assert reuse(cold, [(request, given)]).prompts == 0


def test_a_refusal_is_a_wrong_answer(traffic: Traffic) -> None:
    request = asked("all", "one", 3)
    refused = Answer(**{**vars(answer(request, [-3.0] * 3)), "status": 404})
    assert len(traffic.judged([request], [refused]).wrong) == 1


def test_everyone_asks_and_ends_at_different_times() -> None:
    requests = everyone(LLAMA4, ("base", "projector", "all"), text=("base",))
    assert {request.model for request in requests} == {"base", "projector", "all"}
    assert sum(not request.pictures for request in requests) == 1
    assert len({request.max_tokens for request in requests}) > 1
    assert max(request.max_tokens for request in requests) <= LONGEST
    known = questions(LLAMA4)
    assert len(known) == len(set(known.values())) == 7


def first(seed: str, count: int) -> list[soak.Wave]:
    traffic = soak.waves(LLAMA4, seed, ("base", "all"))
    return [next(traffic) for _ in range(count)]


def test_the_same_seed_is_the_same_traffic() -> None:
    random.seed(1)
    assert first("0/scout", 9) == first("0/scout", 9)
    assert first("0/scout", 9) != first("1/scout", 9)


class Scripted(Traffic):
    """Answers wrongly in the burst whose number is `bad`."""

    def __init__(self, bad: int) -> None:
        self.bad, self.bursts = bad, 0

    def learn(self, requests: Sequence[Request]) -> None:
        pass

    def burst(self, requests: Sequence[Request], **_: Any) -> Seen:
        self.bursts += 1
        wrong = Wrong(request=requests[0], error=1.0, like=None)
        met = Batches(language=int(self.bursts > 2))
        found = (wrong,) if self.bursts == self.bad else ()
        return Seen(requests=len(requests), wrong=found, batches=met)


def test_a_failure_is_stored_and_read_back(tmp_path: Path) -> None:
    planned = first("0/scout", 30)
    seen, last = soak.run(Scripted(bad=25), planned, seconds=60)
    assert len(seen.wrong) == 1
    assert last[-1] == planned[24]
    assert sum(len(wave.requests) for wave in last) >= soak.KEPT
    assert sum(len(wave.requests) for wave in last[1:]) < soak.KEPT
    said = soak.keep(RunFolder(tmp_path), "scout", "few-slots", "0/scout", last)
    file = tmp_path / "soak-scout-few-slots.json"
    assert f"--set replay={file}" in said.replace("'", "")
    assert json.loads(file.read_text())["seed"] == "0/scout"
    assert soak.read(file, "scout", "few-slots") == last
    assert soak.read(file, "scout", "one-slot") is None


def test_a_soak_ends_with_its_time() -> None:
    for seconds in (0.05, 0.0):  # without any time left it still waits for a batch
        seen, _ = soak.run(Scripted(bad=0), soak.waves(LLAMA4, "0", ("base",)), seconds=seconds)
        assert seen.batches.language
        assert not seen.wrong


def test_a_file_that_is_no_traffic_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text('{"waves": [{"requests": 3}]}')
    with pytest.raises(UsageError, match=r"x\.json: waves\[0\]\.requests"):
        soak.read(file, "scout", "few-slots")


def test_soak_settings() -> None:
    assert settings_of(["soak=0.5"]).soak_minutes == 0.5
    for word in ("soak=0", "soak=long", "soak=nan", "replay=/nowhere/x.json", "mutant=nobody"):
        with pytest.raises(UsageError):
            settings_of([word])
