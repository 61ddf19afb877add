"""Fix: on a CPU, rows without an adapter stay without one where every adapter slot is in use."""

from types import ModuleType
from typing import Any

from ..hooks import replace
from ..registry import Patch


def _apply(module: ModuleType) -> None:
    def make(original: Any) -> Any:
        def bgmv_shrink(
            inputs: Any, weights: Any, output: Any, indices: Any, *args: Any, **kwargs: Any
        ) -> None:
            original(inputs, weights, output, indices, *args, **kwargs)
            # Index -1 is "no adapter", and to Python the last slot. The Triton kernels skip it.
            output[: len(indices)][indices < 0] = 0

        return bgmv_shrink

    replace(module, "bgmv_shrink", make)


PATCH = Patch(
    id="cpu-base-rows",
    kind="fix",
    platform="cpu",
    versions=">=0.16",
    modules=("vllm.lora.ops.torch_ops.lora_ops",),
    apply=_apply,
    reason="rows of the base get the adapter in the last slot when an adapter is in their step",
    upstream=(
        "https://github.com/vllm-project/vllm/pull/48421",
        "https://github.com/vllm-project/vllm/pull/49656",
    ),
)
