"""Fix: where a layer's values are its keys, an adapter of k_proj changes the values too."""

import copy
from collections.abc import Iterator
from typing import Any

from ...registry import Patch

MANAGER = "vllm.lora.model_manager:LoRAModelManager"
PACKED = ".self_attn.qkv_proj"


def sharing(text: Any, packed: Any) -> Iterator[tuple[str, str]]:
    """(key's module, value's module) of each layer that takes its keys for values.

    `text`: a text_config; `packed`: vLLM's packed module → those that it holds.
    """
    if not getattr(text, "attention_k_eq_v", False):
        return
    for name, parts in packed.items():
        layer = name.removesuffix(PACKED)
        if layer != name and text.layer_types[int(layer.rpartition(".")[2])] == "full_attention":
            _, key, value = parts
            yield key, value


def _for_values_too(original: Any) -> Any:
    def _create_merged_loras_inplace(self: Any, lora_model: Any) -> Any:
        text = getattr(getattr(self.model, "config", None), "text_config", None)
        for key, value in sharing(text, self.packed_modules):
            found = self._get_lora_layer_weights(lora_model, key)
            if found is not None and self._get_lora_layer_weights(lora_model, value) is None:
                mine = copy.copy(found)
                # Scaled in place later, each by itself.
                mine.module_name, mine.lora_b = value, found.lora_b.clone()
                lora_model.loras[value] = mine
        return original(self, lora_model)

    return _create_merged_loras_inplace


PATCHES = (
    Patch(
        id="gemma4-keys-as-values",
        kind="fix",
        versions=">=0.32",
        wraps={f"{MANAGER}._create_merged_loras_inplace": _for_values_too},
        reason="layers without a v_proj take their keys for values; the weights of k_proj are "
        "loaded for both, an adapter's for the keys alone",
    ),
)
