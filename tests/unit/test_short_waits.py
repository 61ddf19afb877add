"""While a message may come at any moment, a queue's reader spins for a moment, then naps."""

import time
from typing import Any

import pytest

from mm_lora.inside import short_waits


class _Condition:
    """As vLLM's, of a reader that got its last message some seconds ago."""

    busy_loop_s = 1.0

    def __init__(self, ago_s: float) -> None:
        self.last_read = time.monotonic() - ago_s
        self.waits: list[int | None] = []

    def wait(self, timeout_ms: int | None = None) -> None:
        self.waits.append(timeout_ms)


(_NAP,) = short_waits.PATCH.wraps.values()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(short_waits.time, "sleep", slept.append)
    return slept


def test_right_after_a_message_it_spins_as_vllm_does(naps: list[float]) -> None:
    condition: Any = _Condition(ago_s=-0.001)
    _NAP(_Condition.wait)(condition, timeout_ms=5000)
    assert condition.waits == [5000]
    assert not naps


def test_soon_after_a_message_it_naps_for_less_than_a_step(naps: list[float]) -> None:
    condition: Any = _Condition(ago_s=0.1)
    _NAP(_Condition.wait)(condition, timeout_ms=5000)
    assert not condition.waits
    assert 0 < naps[0] < 0.001


def test_later_it_waits_as_vllm_does(naps: list[float]) -> None:
    condition: Any = _Condition(ago_s=2)
    _NAP(_Condition.wait)(condition, timeout_ms=5000)
    assert condition.waits == [5000]
    assert not naps
