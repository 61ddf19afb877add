"""Fix: gives language-model q and k adapters the row order that vLLM gave the base weights."""

from typing import Any

from ...registry import Patch


def _wrapped(original: Any) -> Any:
    def _add_adapter(self: Any, lora: Any) -> Any:
        text = getattr(self.model.config, "text_config", None)
        if type(self.model).__name__ == "Llama4ForConditionalGeneration" and text is not None:
            heads = {"q_proj": text.num_attention_heads, "k_proj": text.num_key_value_heads}
            for name, weights in lora.loras.items():
                count = heads.get(name.rpartition(".")[2])
                if count and name.startswith("language_model."):
                    weights.lora_b = _permuted(weights.lora_b, count)
        return original(self, lora)

    return _add_adapter


def _permuted(lora_b: Any, heads: int) -> Any:
    """B as [out, rank], its rows in the order of `permute_qk_weight_for_rotary` (llama4.py)."""
    out, rank = lora_b.shape
    return lora_b.view(heads, out // heads // 2, 2, rank).transpose(1, 2).reshape(out, rank)


PATCH = Patch(
    id="llama4-qk-lora-rows",
    kind="fix",
    versions=">=0.16",
    wraps={"vllm.lora.model_manager:LoRAModelManager._add_adapter": _wrapped},
    reason="llama4.py permutes the rows of q_proj and k_proj on load, but not those of an "
    "adapter's lora_B",
)
