"""The fix for stale replies: a failed call takes every rank's reply with it."""

from collections import deque
from types import ModuleType
from typing import Any

import pytest

from mm_lora.inside.fixes import rpc_replies


class Queue:
    def __init__(self, *replies: tuple[bool, str]) -> None:
        self.replies = deque(replies)

    def dequeue(self, timeout: float | None = None) -> tuple[bool, str]:
        return self.replies.popleft()


def executor(*queues: Queue) -> Any:
    class MultiprocExecutor:
        def __init__(self) -> None:
            self.response_mqs = list(queues)

        def collective_rpc(self, method: str) -> list[str]:
            found = []
            for queue in self.response_mqs:
                good, reply = queue.dequeue()
                if not good:
                    raise RuntimeError(reply)
                found.append(reply)
            return found

    module = ModuleType("executor")
    module.MultiprocExecutor = MultiprocExecutor  # type: ignore[attr-defined]
    rpc_replies.PATCH.apply(module)
    return MultiprocExecutor()


@pytest.mark.parametrize("bad", [0, 1])
def test_the_next_call_gets_its_own_replies(bad: int) -> None:
    queues = [Queue((rank != bad, "old"), (True, f"new {rank}")) for rank in range(2)]
    ranks = executor(*queues)
    with pytest.raises(RuntimeError, match="old"):
        ranks.collective_rpc("add_lora")
    assert ranks.collective_rpc("list_loras") == ["new 0", "new 1"]
    assert ranks.response_mqs == queues
