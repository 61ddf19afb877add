"""`mm-lora watch` against servers in this process: silent, leaking, unsteady, dying, empty ones."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_servers import FakeClient, answer

from mm_lora.checks.inspection.findings import Fate, Inspection, Tensor
from mm_lora.checks.watching.findings import Finding, Pass
from mm_lora.cli.commands import watch as command
from mm_lora.core.asking import Answer, Picture, Request
from mm_lora.core.errors import ServerDied, TroubleError, UsageError
from mm_lora.core.outcomes import Outcome
from mm_lora.families import registry
from mm_lora.report import watch_lines, watch_metrics
from mm_lora.run.watch import Order, watch
from mm_lora.serving.client import options

CHECKS = ["differs-text", "differs-picture", "repeats-text", "repeats-picture", "neighbours"]

Change = Callable[[Request], float | Answer | None]
"""How far the request's answer is off the usual one, or another one instead."""


def shifted(request: Request, by: float) -> Answer:
    """Eight tokens, each `by` below those of the base."""
    tops = [{"token": str(at), "logprob": -1.0 - at / 4 - by} for at in range(20)]
    return replace(
        answer(request),
        text="as all answer",
        token_ids=tuple(range(8)),
        logprobs=(-1.0 - by,) * 8,
        completion_tokens=8,
        raw={"choices": [{"logprobs": {"content": [{"top_logprobs": tops}]}}]},
    )


class Server:
    """Answers at once; an adapter is as far from the base as `effects` says. `change`: see Change.

    Requests that are sent together come in threads of their own.
    """

    base_url, base, version = "http://fake", "base", "0.32.0"

    def __init__(self, change: Change = lambda request: None, **effects: float) -> None:
        self.effects: Mapping[str, float] = effects or {"a": 1.0, "b": 2.0}
        self.adapters = tuple(self.effects)
        self.change = change
        self.asked: list[str] = []

    def connect(self) -> None:
        """It is there."""

    def reply(self, request: Request) -> Answer:
        self.asked.append(request.model)
        changed = self.change(request)
        if isinstance(changed, Answer):
            return changed
        return shifted(request, self.effects.get(request.model, 0.0) + (changed or 0.0))


def passed(server: Server, **told: Any) -> Pass:
    return watch(server, FakeClient(server.reply), Order(**told))


def outcomes(done: Pass, adapter: str) -> dict[str, str]:
    return {one.check: str(one.outcome) for one in done.of(adapter)}


def failures(done: Pass) -> set[tuple[str, str]]:
    return {(one.adapter, one.check) for one in done.findings if one.outcome is Outcome.FAIL}


def together() -> bool:
    return threading.current_thread() is not threading.main_thread()


def test_two_good_adapters_pass_with_ten_requests_each() -> None:
    done = passed(Server())
    assert done.exit_code == 0
    assert outcomes(done, "a") == outcomes(done, "b") == dict.fromkeys(CHECKS, "pass")
    assert done.requests == 10 + 2 * 10
    text = "\n".join(str(line) for line in watch_lines.rendered(done))
    assert "not known from outside: whether the numbers are right" in text


def test_an_adapter_that_is_silently_the_base_fails_by_name() -> None:
    done = passed(Server(a=0.0, b=2.0))
    assert done.exit_code == 1
    assert failures(done) == {("a", "differs-text"), ("a", "differs-picture")}


def test_text_as_the_bases_is_right_for_the_vision_alone() -> None:
    def blind(request: Request) -> float:
        return 0.0 if request.pictures or request.model == "base" else -1.0

    done = passed(Server(blind, a=1.0))
    assert outcomes(done, "a")["differs-text"] == "skip"
    assert done.exit_code == 0
    done = passed(Server(blind, a=1.0), on_text={"a": True})
    assert failures(done) == {("a", "differs-text")}


@pytest.mark.parametrize(("victim", "blamed"), [("base", {"a"}), ("b", {"a", "b"})])
def test_an_adapter_that_leaks_is_named(victim: str, blamed: set[str]) -> None:
    def leak(request: Request) -> Answer | None:
        hit = together() and request.model == victim and "a" in server.asked
        return replace(shifted(request, 1.0), model=victim) if hit else None

    server = Server(leak)
    done = passed(server)
    assert failures(done) == {(name, "neighbours") for name in blamed}
    (reason,) = (one.reason for one in done.of("a") if one.check == "neighbours")
    assert f"{victim} beside" in reason
    assert "as a answers" in reason


def test_an_adapter_that_does_not_repeat_itself_fails_alone() -> None:
    def unsteady(request: Request) -> float:
        return 0.3 * (server.asked.count("a") % 2) if request.model == "a" else 0.0

    server = Server(unsteady)
    done = passed(server)
    assert failures(done) == {("a", "repeats-text"), ("a", "repeats-picture")}
    assert outcomes(done, "a")["neighbours"] == "void"
    assert outcomes(done, "b") == dict.fromkeys(CHECKS, "pass")


def test_a_server_that_is_not_deterministic_is_said_to_be_so() -> None:
    def noisy(request: Request) -> float:
        return 0.2 * (len(server.asked) % 2)

    server = Server(noisy, a=0.7)
    done = passed(server)
    assert done.exit_code == 3
    assert not failures(done)
    assert "two clean runs of this server differ by 0.2" in done.notes[0]
    assert "not deterministic" in done.of("a")[0].reason


def test_a_server_that_dies_leaves_what_was_found() -> None:
    def dies(request: Request) -> None:
        if request.model == "b":
            raise ServerDied("the connection broke during a request for 'b'")

    done = passed(Server(dies, a=1.0, b=1.0))
    assert done.exit_code == 3
    assert outcomes(done, "a")["differs-text"] == "pass"
    assert not done.of("b")
    assert "'b'" in done.trouble
    assert "mm_lora_watch_complete 0\n" in watch_metrics.render(done)
    assert passed(Server(dies, a=0.0, b=1.0)).exit_code == 1  # what failed before stays


def test_nobody_there_and_no_adapters_at_all() -> None:
    class Absent(Server):
        def connect(self) -> None:
            raise TroubleError("no server answers at http://fake")

    assert passed(Absent()).exit_code == 3
    empty = Server(a=1.0)
    empty.adapters = ()
    done = passed(empty)
    assert (done.exit_code, done.requests) == (4, 0)


def test_a_server_without_pictures_is_asked_text_alone() -> None:
    def refuses(request: Request) -> Answer | None:
        return answer(request, 400) if request.pictures else None

    done = passed(Server(refuses, a=0.0, b=2.0))
    assert failures(done) == {("a", "differs-text")}
    assert done.pictures is False
    assert "takes no picture" in done.notes[0]


@pytest.mark.parametrize(("status", "outcome", "code"), [(404, "fail", 1), (503, "error", 3)])
def test_a_refusal_is_the_adapters_and_a_busy_server_is_not(
    status: int, outcome: str, code: int
) -> None:
    done = passed(Server(lambda one: answer(one, status) if one.model == "a" else None))
    assert outcomes(done, "a") == {"answers": outcome}
    assert outcomes(done, "b") == dict.fromkeys(CHECKS, "pass")
    assert done.exit_code == code


def test_only_what_is_wanted_and_only_while_there_is_time() -> None:
    done = passed(Server(), only=["b*"])
    assert list(done.adapters) == ["b"]
    with pytest.raises(UsageError, match="--only 'c' matches no adapter"):
        passed(Server(), only=["c"])
    ticks = iter(range(1000))
    server = Server()
    late = watch(
        server, FakeClient(server.reply), Order(limit_s=15), clock=lambda: float(next(ticks))
    )
    assert "did not end in 15 s" in late.trouble
    assert (late.exit_code, late.requests) == (3, 14)


def test_metrics_are_prometheus_text() -> None:
    one = Finding(adapter='a"\\', check="neighbours", outcome=Outcome.FAIL, difference=float("inf"))
    skipped = replace(one, check="differs-text", outcome=Outcome.SKIP)
    void = replace(one, check="repeats-text", outcome=Outcome.VOID, difference=None)
    done = Pass(
        base_url="http://fake",
        started="1970-01-01T00:01:00Z",
        duration_s=2.5,
        adapters=['a"\\'],
        findings=[one, skipped, void],
    )
    lines = watch_metrics.render(done).splitlines()
    assert "# TYPE mm_lora_watch_failed gauge" in lines
    assert r'mm_lora_watch_failed{adapter="a\"\\",check="neighbours"} 1' in lines
    assert r'mm_lora_watch_judged{adapter="a\"\\",check="repeats-text"} 0' in lines
    assert r'mm_lora_watch_difference_logprob{adapter="a\"\\",check="neighbours"} +Inf' in lines
    assert "mm_lora_watch_timestamp_seconds 62.5" in lines
    assert "differs-text" not in "".join(lines)


def test_a_fresh_request_is_new_to_the_caches() -> None:
    asked = options(Request(model="m", pictures=(Picture(width=64, height=64),)), "w")
    assert asked["extra_body"]["cache_salt"] == "w"
    picture, text = asked["messages"][0]["content"]
    assert picture["uuid"] == "w-0"
    assert "uuid" not in text


def test_files_are_judged_beside(tmp_path: Path) -> None:
    family = registry.family("llama4")
    good = Tensor(
        key="k", fate=Fate.APPLIED, module="language_model.model.layers.0.self_attn.q_proj"
    )
    bad = replace(good, key="j", fate=Fate.IGNORED)
    one = Inspection(adapter="a", model="m", vllm="0.32.0", tensors=[good])
    assert command.finding_of("a", one).outcome is Outcome.PASS
    assert command.changes_text(one, family)
    tower = replace(good, module="vision_model.model.layers.0.self_attn.q_proj")
    assert not command.changes_text(replace(one, tensors=[tower]), family)
    half = command.finding_of("a", replace(one, tensors=[good, bad]))
    assert half.outcome is Outcome.FAIL
    assert "1 applied, 1 ignored" in half.reason
    with pytest.raises(UsageError, match="needs --model"):
        command.folders_of([f"a={tmp_path}"], "")
    with pytest.raises(UsageError, match="not NAME=FOLDER"):
        command.folders_of(["a"], "scout")
