"""Fix for `--mm-encoder-tp-mode data`: the tower's q, k and v take adapters there too."""

import importlib
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


PATCHES = (
    Patch(
        id="llama4-data-encoder-qkv",
        kind="fix",
        versions=">=0.30",
        needs=tuple(f"{MODULE}:{name}" for name in _USED),
        wraps={f"{MODULE}:Llama4VisionAttention.__init__": _packed_layers},
        reason="with --mm-encoder-tp-mode data the tower's q, k and v take no adapter",
    ),
)
