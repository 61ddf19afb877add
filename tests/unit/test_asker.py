"""Asking again after a death: what is a crash, and so a failure, and what is trouble."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_servers import FakeClient, FakeServer, answer

from mm_lora.core.asking import Answer, Request
from mm_lora.core.errors import ServerDied, ServerError, ServerTimeout
from mm_lora.core.outcomes import NotPassed, Outcome
from mm_lora.core.record import ServerRecord
from mm_lora.core.run_folder import RunFolder
from mm_lora.core.skips import NotApplicable
from mm_lora.core.timings import Timings
from mm_lora.serving import asker as asker_module
from mm_lora.serving.asker import CRASHES, KNOWN_CRASHES, Asker
from mm_lora.serving.pool import Started
from mm_lora.serving.server.spec import ServerSpec

SPEC = ServerSpec(model="scout")
REQUEST = Request(model="base", text="what?")
BATCH = [Request(model="base", text=text) for text in "abc"]

Reply = Callable[[Request], Answer]


class FakePool:
    """Servers in turn: each answers as its reply, and its death is then found."""

    def __init__(self, tmp_path: Path, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.folder = tmp_path
        self.calls: list[str] = []
        self.given_up: Exception | None = None
        self.current: Started | None = None

    def get(self, spec: ServerSpec) -> Started:
        if self.given_up is not None:
            raise self.given_up
        if self.current is None:
            reply = self.replies.pop(0)
            if isinstance(reply, Exception):
                raise reply
            server: Any = FakeServer(spec, self.folder)
            client: Any = FakeClient(reply)
            self.current = Started(server, client, ServerRecord(spec={}, label="1-scout"))
        return self.current

    def again(self, spec: ServerSpec) -> Started:
        self.calls.append("again")
        self.current = None
        return self.get(spec)

    def release(self, spec: ServerSpec) -> None:
        self.calls.append("release")
        self.current = None

    def give_up(self, spec: ServerSpec, error: Exception) -> None:
        self.calls.append("give up")
        self.given_up = error


def died(what: str = "ended", by_signal: int | None = None) -> ServerDied:
    return ServerDied(what, "the log", "Traceback …", by_signal)


def dies(death: ServerDied) -> Reply:
    """The connection breaks, and the server is then found dead."""

    def reply(request: Request) -> Answer:
        error = ServerDied("the connection broke")
        error.death = death  # type: ignore[attr-defined]
        raise error

    return reply


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Asker]:
    deaths: dict[int, ServerDied] = {}

    def found(started: Started) -> ServerDied | None:
        return deaths.get(id(started)) or getattr(started.server, "death", None)

    monkeypatch.setattr(asker_module, "died_by_itself", found)
    monkeypatch.setattr(asker_module, "held_s", lambda requests, took: 0.0)

    def asker(*replies: Reply | Exception) -> Asker:
        pool = FakePool(tmp_path, *replies)
        get = pool.get

        def noting(spec: ServerSpec) -> Started:
            started = get(spec)
            reply = started.client.reply  # type: ignore[attr-defined]

            def ask(request: Request) -> Answer:
                try:
                    return reply(request)
                except ServerDied as error:
                    if hasattr(error, "death"):
                        deaths[id(started)] = error.death
                    raise

            started.client.ask = ask  # type: ignore[method-assign]
            return started

        pool.get = noting  # type: ignore[method-assign]
        return Asker(
            pool,  # type: ignore[arg-type]
            folder=RunFolder(tmp_path),
            timings=Timings(),
            say=lambda line: None,
        )

    return asker


def calls(asker: Asker) -> list[str]:
    return asker._pool.calls  # type: ignore[attr-defined,no-any-return]


def test_an_answer_is_kept_raw(make: Callable[..., Asker], tmp_path: Path) -> None:
    assert make(answer).ask(SPEC, REQUEST).text == "what?"
    assert '"text": "what?"' in (tmp_path / "observations.jsonl").read_text()


def test_dying_again_alone_is_a_failure(make: Callable[..., Asker]) -> None:
    asker = make(dies(died("first")), dies(died("second")))
    prepared = []
    with pytest.raises(NotPassed) as caught:
        asker.ask(SPEC, REQUEST, lambda: prepared.append(1))
    verdict = caught.value.verdict
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason.startswith("how: crash; the server dies on this request alone: second")
    assert prepared == [1], "the fresh server is prepared before it is asked"
    assert calls(asker) == ["again", "release"]


def test_a_deadly_check_is_asked_once_of_a_fresh_server(make: Callable[..., Asker]) -> None:
    asker = make(dies(died("first")))
    asker.deadly = True
    with pytest.raises(NotPassed, match="the server dies on this request alone: first"):
        asker.ask(SPEC, REQUEST)
    assert calls(asker) == ["release"]


def test_a_deadly_check_is_asked_again_where_the_server_had_answered(
    make: Callable[..., Asker],
) -> None:
    replies = iter([answer, dies(died("first"))])
    asker = make(lambda request: next(replies)(request), dies(died("second")))
    asker.ask(SPEC, REQUEST)
    asker.deadly = True
    with pytest.raises(NotPassed, match="second"):
        asker.ask(SPEC, REQUEST)
    assert calls(asker) == ["again", "release"]


def test_a_deadly_check_whose_server_is_killed_is_an_error(make: Callable[..., Asker]) -> None:
    asker = make(dies(died("out of memory", signal.SIGKILL)))
    asker.deadly = True
    with pytest.raises(ServerDied, match="out of memory"):
        asker.ask(SPEC, REQUEST)
    assert calls(asker) == ["give up"]


def test_dying_once_is_an_error(make: Callable[..., Asker]) -> None:
    asker = make(dies(died("first")), answer)
    with pytest.raises(ServerDied, match="first; a fresh server answered the same"):
        asker.ask(SPEC, REQUEST)
    assert calls(asker) == ["again"]


def test_killed_by_a_signal_is_an_error_and_not_tried_again(make: Callable[..., Asker]) -> None:
    asker = make(dies(died("out of memory", signal.SIGKILL)))
    for _ in range(2):
        with pytest.raises(ServerDied, match="out of memory"):
            asker.ask(SPEC, REQUEST)
    assert calls(asker) == ["give up"]


@pytest.mark.parametrize(
    "second",
    [dies(died("killed", signal.SIGKILL)), ServerError("no room"), ServerTimeout("too slow")],
)
def test_a_second_server_that_says_nothing_leaves_the_first_death(
    make: Callable[..., Asker], second: Reply | Exception
) -> None:
    with pytest.raises(ServerDied, match="first"):
        make(dies(died("first")), second).ask(SPEC, REQUEST)


def test_a_dead_engine_behind_a_living_api_server_is_a_death(make: Callable[..., Asker]) -> None:
    def says_500(request: Request) -> Answer:
        return answer(request, 500)

    asker = make(says_500, says_500)
    for _ in range(2):  # healthy: an answer like any other
        assert asker.ask(SPEC, REQUEST).status == 500
    started = asker._pool.get(SPEC)
    started.client.healthy = False  # type: ignore[attr-defined]
    started.server.death = died("the engine")  # type: ignore[union-attr]
    with pytest.raises(ServerDied, match="the engine; a fresh server"):
        asker.ask(SPEC, REQUEST)


def test_trouble_with_a_living_server_is_trouble(make: Callable[..., Asker]) -> None:
    def slow(request: Request) -> Answer:
        raise ServerTimeout("too slow")

    asker = make(slow)
    with pytest.raises(ServerTimeout):
        asker.ask(SPEC, REQUEST)
    assert calls(asker) == []


def test_a_server_that_crashes_on_many_checks_is_given_up(make: Callable[..., Asker]) -> None:
    asker = make(*[dies(died("x"))] * 2 * CRASHES)
    for _ in range(CRASHES):
        with pytest.raises(NotPassed):
            asker.ask(SPEC, REQUEST)
    assert calls(asker).count("give up") == 1
    with pytest.raises(ServerDied, match=rf"not-asked: .*\({CRASHES} of them; "):
        asker.ask(SPEC, REQUEST)


def test_crashes_that_a_known_defect_explains_do_not_count_at_first(
    make: Callable[..., Asker],
) -> None:
    most = CRASHES + KNOWN_CRASHES
    asker = make(*[dies(died("x"))] * 2 * most)
    for at in range(most):
        assert "give up" not in calls(asker), at
        with pytest.raises(NotPassed):
            asker.ask(SPEC, REQUEST)
        asker.explained(SPEC)
    assert calls(asker).count("give up") == 1


def test_what_the_server_does_not_have_is_not_asked(make: Callable[..., Asker]) -> None:
    asker = make(answer)
    started = asker._pool.get(SPEC)
    started.refused = {"bad": died("its shape")}
    started.absent = {"other": "not there"}
    with pytest.raises(NotPassed, match="vLLM refuses the adapter 'bad'"):
        asker.ask(SPEC, Request(model="bad"))
    with pytest.raises(NotApplicable, match="not there"):
        asker.ask(SPEC, Request(model="other"))
    with pytest.raises(NotPassed, match="vLLM refuses the adapter 'bad'"):
        asker.ask_all(SPEC, [REQUEST, Request(model="bad")])


def test_a_batch_is_held_and_let_go_together(make: Callable[..., Asker]) -> None:
    asker = make(answer)
    assert [one.text for one in asker.ask_all(SPEC, BATCH)] == ["a", "b", "c"]
    client: Any = asker._pool.get(SPEC).client
    assert client.calls == ["hold", "release"]
    asker.ask_all(SPEC, BATCH, [0.0, 0.0, 0.0])
    assert client.calls == ["hold", "release"], "with delays nothing is held"


def test_requests_in_line_wait_longer_one_after_the_other(
    make: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    mine = threading.local()
    came: list[tuple[float, str]] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        mine.waited = seconds

    def reply(request: Request) -> Answer:
        came.append((mine.waited, request.text))
        return answer(request)

    asker = make(reply)
    client: Any = asker._pool.get(SPEC).client
    monkeypatch.setattr(asker_module, "held_s", lambda requests, took: 0.5 * requests)
    monkeypatch.setattr(asker_module.time, "sleep", sleep)
    asker.ask_all(SPEC, BATCH, in_line=True)
    assert [text for _, text in sorted(came)] == ["a", "b", "c"]
    assert sorted(waits) == [0.0, 0.5, 1.0, 1.5], "let go once the last has come"
    assert client.calls == ["hold", "release"]


def test_ctrl_c_while_a_batch_is_held_lets_it_go(
    make: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stayed paused, and its requests were waited for until they timed out."""

    def interrupted(requests: int, took: Any) -> float:
        raise KeyboardInterrupt

    asker = make(answer)
    monkeypatch.setattr(asker_module, "held_s", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asker.ask_all(SPEC, BATCH)
    client: Any = asker._pool.get(SPEC).client
    assert client.calls == ["hold", "release"]


def test_a_batch_that_kills_again_is_a_failure(make: Callable[..., Asker]) -> None:
    asker = make(dies(died("first")), dies(died("second")))
    with pytest.raises(NotPassed, match="the server dies on this batch: second"):
        asker.ask_all(SPEC, BATCH)
    assert calls(asker) == ["again", "release"]


def test_a_batch_that_kills_once_is_an_error(make: Callable[..., Asker]) -> None:
    with pytest.raises(ServerDied, match="a fresh server answered the same"):
        make(dies(died("first")), answer).ask_all(SPEC, BATCH)


@pytest.mark.parametrize(
    ("first", "why", "called"),
    [
        (dies(died("memory", signal.SIGKILL)), "memory", ["give up"]),
        (dies(died("first")), "first", ["again"]),
    ],
)
def test_a_batch_beside_a_kill_is_an_error(
    make: Callable[..., Asker], first: Reply, why: str, called: list[str]
) -> None:
    asker = make(first, dies(died("killed", signal.SIGKILL)))
    with pytest.raises(ServerDied, match=why):
        asker.ask_all(SPEC, BATCH)
    assert calls(asker) == called


def test_a_batch_on_a_living_server_is_trouble(make: Callable[..., Asker]) -> None:
    def slow(request: Request) -> Answer:
        if request.text == "b":
            raise ServerTimeout("too slow")
        return answer(request)

    with pytest.raises(ServerTimeout):
        make(slow).ask_all(SPEC, BATCH)
