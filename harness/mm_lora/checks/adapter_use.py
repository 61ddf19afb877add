"""Which wrapped layer used which tensor of an adapter: every tensor must be used by exactly one."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mm_lora.adapters.files import shapes
from mm_lora.adapters.keys import parted
from mm_lora.serving.probe_records import AdapterUse


@dataclass(frozen=True)
class TensorUse:
    """`used`: tensor → the layers that used it, more than one being a mistake. `ignored`: tensors
    that vLLM did not apply, in silence. `unasked`: paths that vLLM used without a tensor."""

    used: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...]
    unasked: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Every tensor is used by exactly one layer, and nothing else is."""
        once = all(len(layers) == 1 for layers in self.used.values())
        return once and not self.ignored and not self.unasked


def tensor_use(
    tensors: Iterable[str], use: AdapterUse, to_vllm: Callable[[str], str] = str
) -> TensorUse:
    """`tensors`: the keys in the adapter's file, `base_model.model.<path>.lora_A.weight`.

    `to_vllm`: PEFT module path → vLLM's name of it.
    """
    layers: dict[str, list[str]] = {}
    for layer, parts in use.used.items():
        for part in parts:
            if part is not None:
                layers.setdefault(part, []).append(layer)
    used: dict[str, tuple[str, ...]] = {}
    ignored = []
    looked_up = set()
    for tensor in tensors:
        path, side = parted(tensor)
        path = to_vllm(path)
        looked_up.add(path)
        if path in layers and side in use.kept.get(path, ()):
            used[tensor] = tuple(layers[path])
        else:
            ignored.append(tensor)
    return TensorUse(used, tuple(ignored), tuple(sorted(set(layers) - looked_up)))


def tensor_names(adapter: Path) -> list[str]:
    """The tensors in the file of a PEFT adapter's folder, from its header alone."""
    return list(shapes(adapter))
