"""Fix: an adapter's tensors are checked against its config and the layers before it is added."""

from collections.abc import Iterator
from typing import Any

from ..registry import Patch


def _wrapped(original: Any) -> Any:
    def _add_adapter(self: Any, lora: Any) -> Any:
        wrong = next(_mistakes(self, lora), None)
        if wrong:
            raise ValueError(f"The adapter cannot be applied: {wrong}.")
        return original(self, lora)

    return _add_adapter


def _mistakes(manager: Any, lora: Any) -> Iterator[str]:
    if not lora.loras and not lora.modules_to_save:
        yield "it has no LoRA tensors"
    for name, weights in lora.loras.items():
        a, b = weights.lora_a, weights.lora_b
        # Experts come stacked, and vLLM's own warm-up adapters packed: other shapes.
        if isinstance(a, list) or isinstance(b, list) or ".experts" in name:
            continue
        for part, tensor in (("lora_A", a), ("lora_B", b)):
            if tensor is None:
                yield f"{name} has no {part}"
                return
            if not bool(tensor.isfinite().all()):
                yield f"{part} of {name} has values that are not finite (NaN or infinity)"
        if (a.shape[0], b.shape[1]) != (weights.rank, weights.rank):
            yield (
                f"{name} has rank {a.shape[0]} in lora_A and {b.shape[1]} in lora_B, "
                f"adapter_config.json says rank {weights.rank}"
            )
        wants = _widths(manager, name)
        if wants and wants != (a.shape[1], b.shape[0]):
            yield (
                f"{name} has {a.shape[1]} inputs (lora_A) and {b.shape[0]} outputs (lora_B), "
                f"the layer has {wants[0]} and {wants[1]}"
            )


def _widths(manager: Any, name: str) -> tuple[int, int] | None:
    """(inputs, outputs) of the wrapped layer, or of its part that is called so; None: not known.

    A layer of several slices has one tensor for all of them, where no part has a name of its own.
    """
    layer, part = manager.modules.get(name), None
    for packed, parts in manager.packed_modules.items():
        if name in parts:
            layer, part = manager.modules.get(packed), parts.index(name)
    # Ranks of a parallel server hold slices; embeddings have no slices of outputs.
    if getattr(layer, "tp_size", 2) != 1 or not hasattr(layer, "output_slices"):
        return None
    slices = layer.lora_b_stacked
    if part is not None:
        slices = slices[part : part + 1]
    if not slices:
        return None
    return layer.lora_a_stacked[0].shape[-1], sum(one.shape[-2] for one in slices)


PATCH = Patch(
    id="check-adapter-tensors",
    kind="fix",
    versions=">=0.28",
    wraps={"vllm.lora.model_manager:LoRAModelManager._add_adapter": _wrapped},
    reason="layers/base_linear.py::set_lora copies whatever fits into a slot: a part that is "
    "missing, too small or not finite is taken without a word",
)
