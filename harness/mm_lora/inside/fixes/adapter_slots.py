"""Fix: an adapter keeps its slot while its request waits for the encoder."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def _handle_blocked_waiting_request(self: Any, request: Any) -> bool:
        # The scheduler counts the adapters of the requests that it has just scheduled. One whose
        # picture does not fit into the step's encoder budget is running and not scheduled.
        if self.lora_config and request.lora_request:
            running = {
                one.lora_request.lora_int_id for one in self.running if one.lora_request is not None
            }
            full = len(running) >= self.lora_config.max_loras
            if full and request.lora_request.lora_int_id not in running:
                return False
        ready: bool = original(self, request)
        return ready

    return _handle_blocked_waiting_request


PATCH = Patch(
    id="slots-of-waiting-adapters",
    kind="fix",
    versions=">=0.32",
    wraps={
        "vllm.v1.core.sched.scheduler:Scheduler._handle_blocked_waiting_request": _wrapped,
    },
    reason="a step gets more adapters than it has slots, and the engine ends, where a running "
    "request's picture has to wait for the encoder",
)
