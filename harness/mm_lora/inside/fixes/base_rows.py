"""Fix: on a CPU, rows without an adapter stay without one where every adapter slot is in use."""

from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def bgmv_shrink(
        inputs: Any, weights: Any, output: Any, indices: Any, *args: Any, **kwargs: Any
    ) -> None:
        original(inputs, weights, output, indices, *args, **kwargs)
        # Index -1 is "no adapter", and to Python the last slot. The Triton kernels skip it.
        output[: len(indices)][indices < 0] = 0

    return bgmv_shrink


PATCH = Patch(
    id="cpu-base-rows",
    kind="fix",
    platform="cpu",
    versions=">=0.16",
    wraps={"vllm.lora.ops.torch_ops.lora_ops:bgmv_shrink": _wrapped},
    reason="rows of the base get the adapter in the last slot when an adapter is in their step",
    upstream=(
        "https://github.com/vllm-project/vllm/pull/48421",
        "https://github.com/vllm-project/vllm/pull/49656",
    ),
)
