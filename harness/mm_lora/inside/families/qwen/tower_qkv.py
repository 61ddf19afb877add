"""Fix: classes of Qwen's kind that forgot it list the tower's fused qkv as packed."""

from ...packed_entries import MATCH, chosen, with_entry
from ...registry import Patch

_GLM = "vllm.model_executor.models.glm4_1v:Glm4vForConditionalGeneration"
_MOE = "vllm.model_executor.models.qwen3_vl_moe:Qwen3VLMoeForConditionalGeneration"

PATCH = Patch(
    id="tower-qkv",
    kind="fix",
    versions=">=0.32",
    wraps={
        f"{_GLM}.__init__": with_entry("qkv"),
        f"{_MOE}.__init__": with_entry("qkv"),
        # A server of routed experts names its modules, and this one it cannot name.
        MATCH: chosen("qkv", "visual.", _MOE.partition(":")[2]),
    },
    reason="the class lists no `qkv` as packed, so the tower's fused projection has no LoRA "
    "layer: what an adapter has for it is ignored, or the server does not start",
)
