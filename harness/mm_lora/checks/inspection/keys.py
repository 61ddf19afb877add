"""An adapter's key as vLLM reads it: the module that it names, and which part of it.

After vllm/lora/utils.py::parse_fine_tuned_lora_name.
"""

from mm_lora.adapters.keys import PREFIX
from mm_lora.serving.scan.renames import Renames

A, B = "A", "B"
_BASE_WEIGHTS = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")
_SAVED = ("score", "classifier")


def is_base_weight(key: str) -> bool:
    """Whether the tensor is the base model's own, which some trainers save beside the adapter."""
    return key.endswith(_BASE_WEIGHTS)


def is_skipped(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether vLLM's class leaves it out at loading, for a part that it does not run."""
    return any(f".{prefix}" in key or key.startswith(prefix) for prefix in prefixes)


def read(key: str, renames: Renames) -> tuple[str, str] | None:
    """(module in vLLM, A or B); None for a key that vLLM refuses."""
    name = key.replace(PREFIX, "") if key.startswith(PREFIX) else key
    mapped = renames.of(name).removeprefix(PREFIX)
    parts = mapped.split(".")
    if len(parts) >= 2 and parts[-1] in ("weight", "bias"):
        if parts[-1] == "weight" and parts[-2] in ("lora_A", "lora_B"):
            return ".".join(parts[:-2]), A if parts[-2] == "lora_A" else B
        if parts[-2] in _SAVED:
            return parts[-2], B
    if parts[-1] in ("lora_embedding_A", "lora_embedding_B"):
        return ".".join(parts[:-1]), parts[-1][-1]
    return None


def meant(key: str) -> tuple[str, str, str]:
    """(module as the key spells it, side "lora_A" or "lora_B", what follows), however it is
    spelled; the side is "" for another tensor."""
    name = key.replace(PREFIX, "")
    for side in ("lora_A", "lora_B"):
        head, found, tail = name.partition(f".{side}.")
        if found:
            return head, side, tail
    return name, "", ""
