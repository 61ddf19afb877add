"""Fixes for `--mm-encoder-tp-mode data`, where each rank encodes a part of the pictures."""

import importlib
from typing import Any

from ...fixes.data_encoder_rows import shared_out
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
    """The mapping of rows to adapters, cut as the pictures' chunks are."""

    def run_dp_sharded_vision_model(image_input: Any, vision_model: Any) -> Any:
        # By name: the harness reads the catalogue too, and has no vLLM.
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

    return run_dp_sharded_vision_model


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
