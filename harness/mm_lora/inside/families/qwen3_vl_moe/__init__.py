"""Fix: Qwen3-VL-MoE's tower gets LoRA layers for its fused qkv, as Qwen3-VL's has."""

from ...packed_entries import MATCH, chosen, with_entry
from ...registry import Patch

_CLASS = "Qwen3VLMoeForConditionalGeneration"

PATCHES = (
    Patch(
        id="qwen3-moe-tower-qkv",
        kind="fix",
        versions=">=0.32",
        wraps={
            f"vllm.model_executor.models.qwen3_vl_moe:{_CLASS}.__init__": with_entry("qkv"),
            MATCH: chosen("qkv", "visual.", _CLASS),
        },
        reason="the class lists no `qkv` as packed, so the tower's fused projection has no LoRA "
        "layer: what an adapter has for it is ignored, or the server does not start",
    ),
)
