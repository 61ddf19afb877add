"""Maker of mutants: while a step's adapters are read from the batch, some rows have others."""

from collections.abc import Callable
from typing import Any

from ..registry import Make

BATCH = "vllm.v1.worker.gpu_input_batch:InputBatch"
INPUTS = f"{BATCH}.make_lora_inputs"
"""Where vLLM reads which request's rows have which adapter."""

Rule = Callable[[Any, Any, Any], None]
"""(batch, adapters [most requests] to be changed in place, scheduled tokens [requests])"""


def with_other_adapters(rule: Rule) -> Make:
    """For INPUTS: the batch itself keeps the right adapters, for the steps to come."""

    def make(original: Any) -> Any:
        def make_lora_inputs(self: Any, scheduled: Any, *arguments: Any) -> Any:
            right = self.request_lora_mapping
            self.request_lora_mapping = right.copy()
            rule(self, self.request_lora_mapping, scheduled)
            try:
                return original(self, scheduled, *arguments)
            finally:
                self.request_lora_mapping = right

        return make_lora_inputs

    return make
