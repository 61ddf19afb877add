"""Which layers vLLM's LoRA layers replace, read in `vllm/lora/layers`."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from mm_lora.serving.scan.sources import Sources
from mm_lora.serving.scan.tree import LINEAR_MODULE, Layer, Sort

_MERGED, _QKV = "MergedColumnParallelLinear", "QKVParallelLinear"
_FUSED = (_MERGED, _QKV)


@dataclass(frozen=True)
class Wrappers:
    """`exact`: classes of layers that are replaced as they are; `kin`: with their subclasses."""

    exact: frozenset[str]
    kin: frozenset[str]

    def knows(self, layer: Layer) -> bool:
        """Whether any LoRA layer is for a layer of this class, whatever it is packed of."""
        names = [name.rpartition(".")[2] for name in layer.lineage]
        if layer.sort is Sort.LINEAR:
            return bool(names) and (names[0] in self.exact or bool(self.kin & set(names)))
        return bool({"Linear", "nn.Linear", "Conv2d", "Conv3d"} & self.exact & set(names))

    def fused(self, layer: Layer) -> str:
        """The class of vLLM's that makes a layer one of several projections; "" for others."""
        own = [n for n in layer.lineage if n.startswith(f"{LINEAR_MODULE}.")]
        names = [name.rpartition(".")[2] for name in own]
        return next((name for name in names if name in _FUSED), "")

    def fits(self, layer: Layer, packed: int) -> bool:
        """Whether a fused layer with so many names in `packed_modules_mapping` is replaced."""
        if self.fused(layer) == _QKV:
            return packed in (1, 3)
        if layer.outputs is not None and layer.outputs >= 3 and packed < 2:
            return True  # a LoRA layer with slices of any size
        return packed >= 1


def wrappers(sources: Sources) -> Wrappers:
    """Those of this vLLM."""
    exact: set[str] = set()
    kin: set[str] = set()
    for module in sorted((sources.folder / "lora" / "layers").glob("*.py")):
        known = sources.module(f"vllm.lora.layers.{module.stem}")
        for node in ast.walk(known.tree) if known else ():
            if isinstance(node, ast.FunctionDef) and node.name == "can_replace_layer":
                for name, subclasses in _replaced(node):
                    exact.add(name)
                    if subclasses:
                        kin.add(name)
    return Wrappers(frozenset(exact), frozenset(kin))


def _replaced(function: ast.FunctionDef) -> Iterator[tuple[str, bool]]:
    """(class of a layer, whether its subclasses too) that one `can_replace_layer` speaks of."""
    local: dict[str, list[str]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            local[node.targets[0].id] = _classes(node.value, {})
    for node in ast.walk(function):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot | ast.Eq):
            for name in _classes(node.comparators[0], local):
                yield name, False
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            for name in _classes(node.args[1], local):
                yield name, True


def _classes(node: ast.expr, local: dict[str, list[str]]) -> list[str]:
    """Names of classes in `X`, `(X, Y)`, `maybe_get_oot_by_class(X)`, `nn.X`."""
    match node:
        case ast.Name():
            return local.get(node.id, [node.id] if node.id[:1].isupper() else [])
        case ast.Attribute():
            return [node.attr]
        case ast.Tuple():
            return [name for one in node.elts for name in _classes(one, local)]
        case ast.Call():
            return [name for one in node.args for name in _classes(one, local)]
        case _:
            return []
