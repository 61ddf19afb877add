"""Compat: processes of a CPU server sleep while they wait for each other, instead of spinning.

vLLM's message queues look again and again for a second before they sleep, which costs nothing where
each process has a core to itself. With two cores, engine and worker take them from the API server,
from whoever asks, and from a second server beside.
"""

from typing import Any

from .registry import Patch

_QUEUE = "vllm.distributed.device_communicators.shm_broadcast:SpinCondition"
_LOOKS_S = 0.0005
"""For so long after a message it still looks for the next."""


def _short(original: Any) -> Any:
    # From the first message on: before it the socket that wakes a reader may not be connected yet.
    def record_read(self: Any) -> None:
        original(self)
        self.busy_loop_s = _LOOKS_S

    return record_read


PATCH = Patch(
    id="cpu-short-waits",
    kind="compat",
    platform="cpu",
    versions=">=0.32",
    wraps={f"{_QUEUE}.record_read": _short},
    reason="engine and worker spin for a second after each message, and a miniature's machine may "
    "have two cores",
)
