"""Fixes for `--mm-encoder-tp-mode data`, where each rank encodes a part of the pictures."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...registry import Patch

MODULE = "vllm.model_executor.models.mllama4"
_USED = ("QKVParallelLinear", "RowParallelLinear", "is_vit_use_data_parallel")


def _packed_layers(original: Any) -> Any:
    """Not ReplicatedLinear, whose LoRA wrapper takes one adapter module and not q, k and v."""

    def init(
        self: Any, config: Any, quant_config: Any, *args: Any, prefix: str = "", **kwargs: Any
    ) -> None:
        original(self, config, quant_config, *args, prefix=prefix, **kwargs)
        module = importlib.import_module(MODULE)
        if not module.is_vit_use_data_parallel():
            return
        width = self.num_heads * self.head_dim
        common = {"bias": True, "quant_config": quant_config, "disable_tp": True}
        self.qkv_proj = module.QKVParallelLinear(
            self.embed_dim,
            self.head_dim,
            self.num_heads,
            prefix=f"{prefix}.qkv_proj",
            **common,
        )
        self.o_proj = module.RowParallelLinear(
            width, self.embed_dim, prefix=f"{prefix}.o_proj", **common
        )

    return init


def _rows_of_this_rank(original: Any) -> Any:
    """The mapping of rows to adapters, cut as the pictures' chunks are.

    For a CPU: a GPU's wrapper keeps what its kernels read in other tensors too.
    """

    def run_dp_sharded_vision_model(image_input: Any, vision_model: Any) -> Any:
        with _cut(vision_model, image_input.shape[0]):
            return original(image_input, vision_model)

    return run_dp_sharded_vision_model


@contextmanager
def _cut(vision_model: Any, chunks: int) -> Iterator[None]:
    # By name: the harness reads the catalogue too, and has no vLLM.
    distributed = importlib.import_module("vllm.distributed")
    ranks = distributed.get_tensor_model_parallel_world_size()
    rank = distributed.get_tensor_model_parallel_rank()
    mine = (chunks + ranks - 1) // ranks
    held = (getattr(layer, "punica_wrapper", None) for layer in vision_model.modules())
    whole = {wrapper: wrapper.token_lora_indices.clone() for wrapper in held if wrapper is not None}
    for wrapper, rows in whole.items():
        count = mine * (len(rows) // chunks)
        part = rows.new_full((count,), -1)  # a rank may have an empty chunk to fill up
        own = rows[rank * count : (rank + 1) * count]
        part[: len(own)] = own
        _map(wrapper, part)
    try:
        yield
    finally:
        for wrapper, rows in whole.items():
            _map(wrapper, rows)


def _map(wrapper: Any, rows: Any) -> None:
    wrapper._token_lora_indices[: len(rows)].copy_(rows)
    wrapper.indices_len[0] = len(rows)
    wrapper._update_prefill_metadata(wrapper.token_lora_indices)


PATCHES = (
    Patch(
        id="llama4-data-encoder-qkv",
        kind="fix",
        versions=">=0.30",
        needs=tuple(f"{MODULE}:{name}" for name in _USED),
        wraps={f"{MODULE}:Llama4VisionAttention.__init__": _packed_layers},
        reason="with --mm-encoder-tp-mode data the tower's q, k and v take no adapter",
    ),
    Patch(
        id="llama4-data-encoder-rows",
        kind="fix",
        platform="cpu",
        versions=">=0.30",
        wraps={f"{MODULE}:run_dp_sharded_vision_model": _rows_of_this_rank},
        reason="with --mm-encoder-tp-mode data each rank maps the rows of all chunks, not its own",
    ),
)
