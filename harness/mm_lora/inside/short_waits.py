"""Compat: processes of a CPU server soon nap while they wait for each other, instead of spinning.

For a second after a message the reader of one of vLLM's queues looks for the next again and again,
which costs nothing where each process has a core to itself. With two cores, engine and worker take
them from the API server, from whoever asks, and from a second server beside.

The reader still spins for the first milliseconds: the next message of a step comes within them, and
a core that slept takes longer to wake than the message takes to come.

It must go on looking: the writer's socket keeps one note at most that wakes a reader and drops the
next, and a reader that slept on it would sleep five seconds beside its message
(`SHM_READER_RECHECK_INTERVAL_MS`).
"""

import time
from typing import Any

from .registry import Patch

_WAIT = "vllm.distributed.device_communicators.shm_broadcast:SpinCondition.wait"
_SPIN_S = 0.005
_NAP_S = 0.0001


def _nap(original: Any) -> Any:
    def wait(self: Any, timeout_ms: int | None = None) -> None:
        waited_s = time.monotonic() - self.last_read
        if _SPIN_S < waited_s <= self.busy_loop_s:
            time.sleep(_NAP_S)
        else:
            original(self, timeout_ms)

    return wait


PATCH = Patch(
    id="cpu-short-waits",
    kind="compat",
    platform="cpu",
    versions=">=0.32",
    wraps={_WAIT: _nap},
    reason="engine and worker spin for a second after each message, and a miniature's machine may "
    "have two cores",
)
