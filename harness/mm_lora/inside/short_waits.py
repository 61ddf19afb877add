"""Compat: processes of a CPU server sleep while they wait for each other, instead of spinning.

vLLM's message queues look again and again for a second before they sleep, which costs nothing where
each process has a core to itself. With two cores, engine and worker take them from the API server,
from whoever asks, and from a second server beside.

A queue's writer may drop the note that wakes its readers: its socket keeps one at most. While a
reader spins, it does not need the note; asleep, it would miss the message for five seconds
(`SHM_READER_RECHECK_INTERVAL_MS`). So it also looks by itself every few milliseconds.
"""

from typing import Any

from .registry import Patch

_QUEUE = "vllm.distributed.device_communicators.shm_broadcast:SpinCondition"
_LOOKS_S = 0.0005
"""For so long after a message it still looks for the next."""
_NAP_MS = 20
"""It sleeps no longer than this before it looks again."""


def _short(original: Any) -> Any:
    # From the first message on: before it the socket that wakes a reader may not be connected yet.
    def record_read(self: Any) -> None:
        original(self)
        self.busy_loop_s = _LOOKS_S

    return record_read


def _nap(original: Any) -> Any:
    def wait(self: Any, timeout_ms: int | None = None) -> None:
        original(self, _NAP_MS if timeout_ms is None else min(timeout_ms, _NAP_MS))

    return wait


PATCH = Patch(
    id="cpu-short-waits",
    kind="compat",
    platform="cpu",
    versions=">=0.32",
    wraps={f"{_QUEUE}.record_read": _short, f"{_QUEUE}.wait": _nap},
    reason="engine and worker spin for a second after each message, and a miniature's machine may "
    "have two cores",
)
