"""Mutants of the LoRA operators: the GPU's silence about wrong row counts, and a wrong scale.

A GPU kernel reads, for as many rows as the layer has, a buffer of adapter indices that persists
from mapping to mapping. A CPU operator takes its row count from the mapping, and dies of a wrong
one. With `silent-rows` right counts answer as before, and wrong ones answer wrong without an error.
"""

from typing import Any

from .registry import Patch

_WRAPPER = "vllm.lora.punica_wrapper.punica_cpu:PunicaWrapperCPU"
_WEIGHTS = "vllm.lora.lora_weights:LoRALayerWeights"
_SCALE = 1.25


def shrink(wrapper: Any, y: Any, x: Any, weights: Any, scale: float) -> None:
    """y[row] = scale · A[slot of the row] · x[row]; x [rows, in], weights [slots, 1, rank, in]."""
    if _silent(wrapper):
        return
    for slot, rows in _slots(wrapper, len(x)):
        a = weights[slot].squeeze(0).to(y.dtype)
        y[rows, : a.shape[0]] = scale * (x[rows].to(y.dtype) @ a.T)


def expand(wrapper: Any, y: Any, x: Any, weights: Any, start: int, size: int, add: bool) -> None:
    """y[row, start:start+size] (+)= B[slot of the row] · x[row]; weights [slots, 1, size, rank]."""
    if _silent(wrapper):
        return
    for slot, rows in _slots(wrapper, len(y)):
        b = weights[slot].squeeze(0).to(y.dtype)
        width = min(size, b.shape[0])
        value = (x[rows].to(y.dtype) @ b.T)[:, :width]
        end = start + width
        y[rows, start:end] = y[rows, start:end] + value if add else value


def _silent(wrapper: Any) -> bool:
    """No adapter in the batch: vLLM then runs no kernel at all."""
    return bool(wrapper.is_prefill and wrapper.no_lora)


def _slots(wrapper: Any, rows: int) -> list[tuple[int, Any]]:
    """(slot, rows that have it), as the buffer says, without rows of no adapter."""
    indices = wrapper._token_lora_indices[:rows]
    known = indices.unique().tolist()
    # The buffer is made empty, with whatever the memory held: what is no slot is none.
    most = wrapper.mm_lora_slots
    return [(slot, (indices == slot).nonzero().squeeze(1)) for slot in known if 0 <= slot < most]


def _shrunk(original: Any) -> Any:
    def _apply_shrink(self: Any, y: Any, x: Any, w_t_all: Any, scale: float) -> None:
        self.mm_lora_slots = len(w_t_all)
        shrink(self, y.view(-1, y.shape[-1]), x, w_t_all, scale)

    return _apply_shrink


def _expanded(original: Any) -> Any:
    def _apply_expand(
        self: Any,
        y: Any,
        x: Any,
        w_t_all: Any,
        y_offset: int,
        y_slice_size: int,
        add_inputs: bool = True,
    ) -> None:
        self.mm_lora_slots = len(w_t_all)
        expand(self, y.view(-1, y.shape[-1]), x, w_t_all, y_offset, y_slice_size, add_inputs)

    return _apply_expand


def _scale_off(original: Any) -> Any:
    def optimize(self: Any) -> Any:
        if not isinstance(self.scaling, list) and self.scaling != 1:
            self.scaling *= _SCALE
        return original(self)

    return optimize


PATCHES = (
    Patch(
        id="mutant-silent-rows",
        kind="mutant",
        platform="cpu",
        versions=">=0.17",
        wraps={f"{_WRAPPER}._apply_shrink": _shrunk, f"{_WRAPPER}._apply_expand": _expanded},
        reason="alone it changes no answer: it takes away the crash by which a CPU betrays wrong "
        "row counts, so that a GPU's silence can be rehearsed",
    ),
    Patch(
        id="mutant-scale-off",
        kind="mutant",
        versions=">=0.17",
        wraps={f"{_WEIGHTS}.optimize": _scale_off},
        reason="every adapter whose alpha is not its rank is applied 25 % too strongly",
        kills=(
            "coverage/*/*/strength",
            "dice/*/*/effect",
        ),
        needs_restart=True,
        survives={"relations": "every adapter is off by the same factor"},
    ),
)
