"""Fix for `--mm-encoder-tp-mode data`, where each rank encodes a part of the pictures: the mapping
of rows to adapters is cut as the pictures are.

For a CPU: a GPU's wrapper keeps what its kernels read in other tensors too.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from typing import Any

from ..registry import Patch

MODULE = "vllm.model_executor.models.vision"

Share = Callable[[Any, int], Any]
"""(which adapter each row of all pictures gets, this rank's number) → that of this rank's rows."""


@contextmanager
def shared_out(vision_model: Any, share: Share) -> Iterator[None]:
    """Every wrapper of the vision model maps this rank's rows alone."""
    # By name: the harness reads the catalogue too, and has no vLLM.
    distributed = importlib.import_module("vllm.distributed")
    rank = distributed.get_tensor_model_parallel_rank()
    held = (getattr(layer, "punica_wrapper", None) for layer in vision_model.modules())
    whole = {wrapper: wrapper.token_lora_indices.clone() for wrapper in held if wrapper is not None}
    for wrapper, rows in whole.items():
        mine = share(rows, rank)
        if len(mine):  # without a picture the rank runs no layer
            _map(wrapper, mine)
    try:
        yield
    finally:
        for wrapper, rows in whole.items():
            _map(wrapper, rows)


def _map(wrapper: Any, rows: Any) -> None:
    wrapper._token_lora_indices[: len(rows)].copy_(rows)
    wrapper.indices_len[0] = len(rows)
    wrapper._update_prefill_metadata(wrapper.token_lora_indices)


def rows_of(mine: Sequence[int], sizes: Sequence[int], rows: Sequence[int]) -> list[int]:
    """Of `rows` of all pictures, with these `sizes`, those of the pictures `mine`, in that order.

    A connector has one row for several of a picture's patches.
    """
    ends = [end * len(rows) // sum(sizes) for end in accumulate(sizes, initial=0)]
    return [row for place in mine for row in rows[ends[place] : ends[place + 1]]]


def _whole_pictures(original: Any) -> Any:
    """Where each rank gets whole pictures, in an order of their own."""

    def run(vision_model: Any, pixels: Any, grids: Any, **options: Any) -> Any:
        module = importlib.import_module(MODULE)
        distributed = importlib.import_module("vllm.distributed")
        ranks = distributed.get_tensor_model_parallel_world_size()
        sizes = [prod(grid) for grid in grids]
        order, counts, _ = module.get_load_balance_assignment(sizes, ranks)

        def share(rows: Any, rank: int) -> Any:
            first = sum(counts[:rank])
            mine = order[first : first + counts[rank]]
            return rows.new_tensor(rows_of(mine, sizes, rows.tolist()))

        with shared_out(vision_model, share):
            return original(vision_model, pixels, grids, **options)

    return run


def _equal_parts(original: Any) -> Any:
    """Where each rank gets as many chunks as every other, one after the other."""

    def run(image_input: Any, vision_model: Any) -> Any:
        distributed = importlib.import_module("vllm.distributed")
        ranks = distributed.get_tensor_model_parallel_world_size()
        chunks = image_input.shape[0]
        mine = (chunks + ranks - 1) // ranks

        def share(rows: Any, rank: int) -> Any:
            count = mine * (len(rows) // chunks)
            part = rows.new_full((count,), -1)  # a rank may have an empty chunk to fill up
            own = rows[rank * count : (rank + 1) * count]
            part[: len(own)] = own
            return part

        with shared_out(vision_model, share):
            return original(image_input, vision_model)

    return run


PATCH = Patch(
    id="data-encoder-rows",
    kind="fix",
    platform="cpu",
    versions=">=0.30",
    needs=(f"{MODULE}:get_load_balance_assignment",),
    wraps={
        f"{MODULE}:run_dp_sharded_mrope_vision_model": _whole_pictures,
        f"{MODULE}:run_dp_sharded_vision_model": _equal_parts,
    },
    reason="with --mm-encoder-tp-mode data each rank maps the rows of all pictures, not its own",
)
