"""Fix: with several ranks, a call that fails on one leaves no other rank's reply for the next."""

from typing import Any

from ..registry import Patch

_PATIENCE_S = 60.0


class _Counted:
    """A rank's replies, and how many of them this call has read."""

    def __init__(self, queue: Any) -> None:
        self.queue = queue
        self.read = 0

    def dequeue(self, *args: Any, **kwargs: Any) -> Any:
        self.read += 1
        return self.queue.dequeue(*args, **kwargs)


def _wrapped(original: Any) -> Any:
    def collective_rpc(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("non_block") or kwargs.get("unique_reply_rank") is not None:
            return original(self, *args, **kwargs)
        queues = self.response_mqs
        self.response_mqs = [_Counted(queue) for queue in queues]
        counted = self.response_mqs
        try:
            return original(self, *args, **kwargs)
        except RuntimeError:
            # It was raised at the first reply that told of a failure; all ranks do reply.
            for one in counted if any(one.read for one in counted) else ():
                if not one.read:
                    one.dequeue(timeout=_PATIENCE_S)
            raise
        finally:
            self.response_mqs = queues

    return collective_rpc


PATCH = Patch(
    id="stale-rank-replies",
    kind="fix",
    versions=">=0.17",
    wraps={"vllm.v1.executor.multiproc_executor:MultiprocExecutor.collective_rpc": _wrapped},
    reason="after a refused adapter each call of all ranks is answered with an older reply",
    upstream=("https://github.com/vllm-project/vllm/pull/57846",),
)
