"""A queue's reader sleeps soon after a message, and never for long."""

from typing import Any

import pytest

from mm_lora.inside import short_waits

_QUEUE = "vllm.distributed.device_communicators.shm_broadcast:SpinCondition"


class _Condition:
    """Keeps the times that a reader would sleep for."""

    def __init__(self) -> None:
        self.busy_loop_s = 1.0
        self.naps: list[int | None] = []

    def wait(self, timeout_ms: int | None = None) -> None:
        self.naps.append(timeout_ms)

    def record_read(self) -> None: ...


def _patched(name: str) -> Any:
    return short_waits.PATCH.wraps[f"{_QUEUE}.{name}"](getattr(_Condition, name))


@pytest.mark.parametrize(("asked", "slept"), [(5000, 20), (3, 3), (None, 20)])
def test_a_dropped_note_costs_a_short_nap(asked: int | None, slept: int) -> None:
    """vLLM would sleep for five seconds beside a message whose note its socket dropped."""
    condition = _Condition()
    _patched("wait")(condition, timeout_ms=asked)
    assert condition.naps == [slept]


def test_it_sleeps_soon_after_the_first_message() -> None:
    condition = _Condition()
    _patched("record_read")(condition)
    assert condition.busy_loop_s < 0.01
