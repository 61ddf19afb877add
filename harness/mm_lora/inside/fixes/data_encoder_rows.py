"""Fix for `--mm-encoder-tp-mode data`, where each rank encodes a part of the pictures: the mapping
of rows to adapters is cut as the pictures are.

For a CPU: a GPU's wrapper keeps what its kernels read in other tensors too.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from math import prod
from types import ModuleType
from typing import Any

from ..hooks import HookGone, replace
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


def whole_pictures(module: ModuleType) -> None:
    """Where each rank gets whole pictures, in an order of their own."""
    if not hasattr(module, "get_load_balance_assignment"):
        raise HookGone(f"{MODULE}: no 'get_load_balance_assignment'")

    def make(original: Any) -> Any:
        def run(vision_model: Any, pixels: Any, grids: Any, **options: Any) -> Any:
            distributed = importlib.import_module("vllm.distributed")
            ranks = distributed.get_tensor_model_parallel_world_size()
            sizes = [prod(grid) for grid in grids]
            order, counts, _ = module.get_load_balance_assignment(sizes, ranks)

            def share(rows: Any, rank: int) -> Any:
                # Connectors have a row for several patches.
                ends = [end * len(rows) // sum(sizes) for end in accumulate(sizes, initial=0)]
                first = sum(counts[:rank])
                mine = order[first : first + counts[rank]]
                parts = [rows[ends[place] : ends[place + 1]] for place in mine]
                return rows.new_tensor([int(row) for part in parts for row in part])

            with shared_out(vision_model, share):
                return original(vision_model, pixels, grids, **options)

        return run

    replace(module, "run_dp_sharded_mrope_vision_model", make)


PATCH = Patch(
    id="data-encoder-rows",
    kind="fix",
    platform="cpu",
    versions=">=0.30",
    modules=(MODULE,),
    apply=whole_pictures,
    reason="with --mm-encoder-tp-mode data each rank maps the rows of all pictures, not its own",
)
