"""The pool of servers: each started once, ahead, in turn where it must be; all stopped."""

import threading
from pathlib import Path
from typing import Any

import pytest
from fake_servers import FakeClient, FakePrepared

from mm_lora.core.errors import ServerDied, ServerError, TroubleError
from mm_lora.core.timings import Timings
from mm_lora.serving.late_adapters import ALLOWED
from mm_lora.serving.pool import ServerPool, own_time
from mm_lora.serving.server.spec import ServerSpec

ONE = ServerSpec(model="scout", adapters=("a", "b"))
TWO = ServerSpec(model="maverick")
LOADING = ServerSpec(model="scout", adapters=tuple("abcd"), env=(ALLOWED,))


class Pool:
    """A pool over fakes. `said`: its news."""

    def __init__(self, tmp_path: Path, *script: Any, alone: bool = False) -> None:
        self.said: list[str] = []
        self.prepared: list[ServerSpec] = []
        self.kitchen = FakePrepared(ONE, script=list(script))
        self.client = FakeClient()
        self.pool = ServerPool(
            self.prepare,  # type: ignore[arg-type]
            folder=tmp_path,
            request_timeout_s=1,
            say=self.said.append,
            timings=Timings(),
            alone=alone,
            client=lambda url, timeout_s: self.client,  # type: ignore[arg-type,return-value]
        )

    def prepare(self, spec: ServerSpec) -> FakePrepared:
        self.prepared.append(spec)
        return FakePrepared(spec, self.kitchen.made, self.kitchen.script)

    @property
    def calls(self) -> list[list[str]]:
        return [server.calls for server in self.kitchen.made]


def test_a_server_is_started_once_and_recorded(tmp_path: Path) -> None:
    made = Pool(tmp_path)
    assert not made.pool.is_ready(ONE)
    made.pool.prefetch(ONE)
    made.pool.prefetch(ONE)
    started = made.pool.get(ONE)
    assert made.pool.get(ONE) is started
    assert made.pool.is_ready(ONE)
    assert made.calls == [["start"]]
    (record,) = made.pool.records
    assert (record.label, record.ready_s, record.start) == ("1-scout, 2 adapters", 1.0, "fast")
    assert record.log == "servers/1-scout, 2 adapters/server.log"
    made.pool.close()
    assert made.calls == [["start", "stop"]]


def test_a_released_server_is_stopped_and_another_one_started(tmp_path: Path) -> None:
    made = Pool(tmp_path)
    first = made.pool.get(ONE)
    second = made.pool.again(ONE)
    assert first.server is not second.server
    third = made.pool.restart(ONE)
    assert third.server not in (first.server, second.server)
    made.pool.release(ONE)
    made.pool.release(ONE)  # no server of that spec: nothing
    made.pool.close()
    assert made.calls == [["start", "stop"]] * 3
    assert [record.label[0] for record in made.pool.records] == ["1", "2", "3"]


def test_a_start_that_fails_is_said_every_time_and_made_once(tmp_path: Path) -> None:
    made = Pool(tmp_path, ServerError("no room"))
    for _ in range(2):
        with pytest.raises(ServerError, match="no room"):
            made.pool.get(ONE)
    assert not made.pool.is_ready(ONE)
    assert made.calls == [["start", "stop"]]
    made.pool.release(ONE)
    made.pool.get(ONE)
    assert made.calls[1:] == [["start"]]


def test_what_nobody_foresaw_is_trouble_with_its_name(tmp_path: Path) -> None:
    made = Pool(tmp_path, KeyError("x"))
    with pytest.raises(TroubleError, match="KeyError while starting scout"):
        made.pool.get(ONE)


def test_an_adapter_that_is_refused_is_left_out(tmp_path: Path) -> None:
    death = ServerDied("refused", adapter="a")
    made = Pool(tmp_path, death)
    started = made.pool.get(ONE)
    assert [server.spec.adapters for server in made.kitchen.made] == [("a", "b"), ("b",)]
    assert started.refused == {"a": death}
    first, second = made.pool.records
    assert (first.refused_adapters, second.refused_adapters) == ({}, {"a": "refused"})
    assert made.prepared == [ONE]
    assert any("starting without it" in line for line in made.said)


def test_what_comes_after_a_refused_adapter_is_loaded_over_http(tmp_path: Path) -> None:
    made = Pool(tmp_path, ServerDied("refused", adapter="b"))
    made.client.refuses = {"c": "no such module"}
    started = made.pool.get(LOADING)
    assert [server.spec.adapters for server in made.kitchen.made] == [tuple("abcd"), ("a",)]
    assert made.client.loaded == ["c", "d"]
    assert list(started.refused) == ["b", "c"]
    assert started.refused["c"].log_tail == "no such module"
    assert made.pool.records[-1].refused_adapters == {
        "b": "refused",
        "c": "HTTP 500 for /v1/load_lora_adapter of 'c'",
    }


def test_a_later_server_leaves_out_what_the_first_refused(tmp_path: Path) -> None:
    made = Pool(tmp_path, ServerDied("refused", adapter="b"))
    made.client.refuses = {"c": "no such module"}
    first = made.pool.get(LOADING)
    again = made.pool.again(LOADING)
    assert made.kitchen.made[-1].spec.adapters == ("a", "d")
    assert again.refused == first.refused
    assert made.client.loaded == ["c", "d"]


def test_where_a_load_kills_the_server_each_refusal_is_a_start(tmp_path: Path) -> None:
    deaths = [ServerDied("refused", adapter="b"), None, ServerDied("refused too", adapter="c")]
    made = Pool(tmp_path, *deaths)
    made.client.refuses = {"c": ServerError("it is gone", "")}
    started = made.pool.get(LOADING)
    assert [server.spec.adapters for server in made.kitchen.made] == [
        tuple("abcd"),
        ("a",),
        tuple("acd"),
        tuple("ad"),
    ]
    assert {name: end.what for name, end in started.refused.items()} == {
        "b": "refused",
        "c": "refused too",
    }


def test_a_server_that_is_given_up_is_not_started_again(tmp_path: Path) -> None:
    made = Pool(tmp_path)
    made.pool.get(ONE)
    made.pool.give_up(ONE, ServerDied("killed"))
    for _ in range(2):
        with pytest.raises(ServerDied, match="killed"):
            made.pool.get(ONE)
    made.pool.close()
    assert made.calls == [["start", "stop"]]


def test_closing_ends_a_start_that_is_under_way(tmp_path: Path) -> None:
    under_way = threading.Event()
    made = Pool(tmp_path, under_way)
    made.pool.prefetch(ONE)
    while not made.kitchen.made or "start" not in made.kitchen.made[0].calls:
        pass
    assert not made.pool.is_ready(ONE)
    made.pool.close()
    assert "stop" in made.kitchen.made[0].calls
    with pytest.raises(ServerError):
        made.pool.get(ONE)


def test_after_the_end_nothing_is_started(tmp_path: Path) -> None:
    """A start that was still building when the run ended must not leave a server behind."""
    building = threading.Event()
    made = Pool(tmp_path)
    prepare = made.pool._prepare

    def slow(spec: ServerSpec) -> Any:
        assert building.wait(10)
        return prepare(spec)

    made.pool._prepare = slow
    made.pool.prefetch(ONE)
    made.pool.close()
    building.set()
    with pytest.raises(ServerError, match="the run ended before"):
        made.pool.get(ONE)
    made.pool.prefetch(TWO)
    assert made.calls == [[]]


def test_where_each_must_be_alone_none_is_started_ahead(tmp_path: Path) -> None:
    made = Pool(tmp_path, alone=True)
    made.pool.prefetch(ONE)
    made.pool.prefetch(TWO)
    made.pool.get(ONE)
    assert made.prepared == [ONE]
    made.pool.release(ONE)
    made.pool.get(TWO)
    assert made.prepared == [ONE, TWO]
    assert made.calls == [["start", "stop"], ["start"]], "the first had ended"
    made.pool.close()


def test_otherwise_the_next_one_starts_beside_it(tmp_path: Path) -> None:
    made = Pool(tmp_path)
    made.pool.get(ONE)
    made.pool.prefetch(TWO)
    made.pool.get(TWO)
    assert made.calls == [["start"], ["start"]]
    made.pool.close()


class Metrics:
    """A client whose server says `text`, or nothing at all."""

    def __init__(self, text: str | None, status: int = 200) -> None:
        self.text, self.status = text, status

    def get(self, path: str) -> tuple[int, str]:
        assert path == "/metrics"
        if self.text is None:
            raise ServerError("it is dead", "")
        return self.status, self.text


def test_the_servers_own_time_is_what_it_counts() -> None:
    name = "vllm:e2e_request_latency_seconds"
    text = "".join(
        f'{name}_{of}{{engine="{engine}",model_name="base"}} {value}\n'
        for engine in (0, 1)
        for of, value in (("sum", 1.25), ("count", 3.0), ('bucket{le="1"}', 2.0))
    )
    assert own_time(Metrics(text)) == (2.5, 6)  # type: ignore[arg-type]


@pytest.mark.parametrize("client", [Metrics(None), Metrics("no", 404), Metrics("# nothing\n")])
def test_a_server_that_counts_nothing_has_no_time_of_its_own(client: Metrics) -> None:
    assert own_time(client) == (0.0, 0)  # type: ignore[arg-type]


def test_of_a_long_refusal_the_telling_part_is_kept(tmp_path: Path) -> None:
    taken, got = (f"{kind}.{at}" for kind in ("ours", "theirs") for at in [0])
    said = f"expected {[taken] * 300} but received {[got] * 300}: check"
    made = Pool(tmp_path, ServerDied("refused", adapter="b"))
    made.client.refuses = {"c": said}
    kept = made.pool.get(LOADING).refused["c"].log_tail
    assert len(kept) == 1500
    assert "but received ['theirs.0'" in kept
