"""The linear layers and convolutions of a model class by their paths, as far as can be read."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from mm_lora.serving.scan.bodies import Bodies
from mm_lora.serving.scan.calls import makes_modules
from mm_lora.serving.scan.sources import ROOT, Class, External, full_name
from mm_lora.serving.scan.values import Items, Mapping, Object, Opaque, Values

LINEAR_MODULE = f"{ROOT}.model_executor.layers.linear"
_LAYERS = f"{ROOT}.model_executor.layers."
_LINEAR_BASE = f"{LINEAR_MODULE}.LinearBase"
_TORCH_CONVOLUTION = re.compile(r"torch\.nn\.Conv[123]d")
_CONVOLUTION = f"{_LAYERS}conv."
_DEEP = 16

Path = tuple[str, ...]


class Sort(StrEnum):
    """What a layer is."""

    LINEAR = "linear"
    """A linear layer of vLLM's."""
    PLAIN = "plain"
    """A torch Linear."""
    CONVOLUTION = "convolution"
    UNKNOWN = "unknown"
    """Made at run time; whether it has layers is not known."""


@dataclass(frozen=True, eq=False)
class Layer:
    """`path`: dotted, `*` for any index. `cls`: its class; for what is unknown, what it is.
    `node`: the expression that makes it, in `file`."""

    path: str
    sort: Sort
    cls: str
    lineage: tuple[str, ...]
    """Full names of the class and its bases, nearest first."""
    file: str
    node: ast.expr
    outputs: int | None = None
    """How many outputs a merged layer is made with, where the code says so."""

    @property
    def last(self) -> str:
        """The last part of its path, which an adapter's keys must end with."""
        return self.path.rpartition(".")[2]


def layers(bodies: Bodies, model: Object) -> tuple[list[Layer], list[str]]:
    """The layers below a model, and the paths of all modules on the way, `x` and `x.y`."""
    found: dict[tuple[str, str], Layer] = {}
    paths: dict[str, None] = {}
    for layer in _walk(bodies, [model], (), (), paths):
        found.setdefault((layer.path, layer.cls), layer)
    return list(found.values()), list(paths)


def _walk(
    bodies: Bodies, values: Values, path: Path, seen: tuple[Class, ...], paths: dict[str, None]
) -> Iterator[Layer]:
    for value in values:
        if isinstance(value, Object | Items | Mapping | Opaque) and path:
            paths[".".join(path)] = None
        if isinstance(value, Items):
            for index, inner in value.items:
                yield from _walk(bodies, inner, (*path, index), seen, paths)
        elif isinstance(value, Mapping):
            for key, inner in value.items.items():
                yield from _walk(bodies, inner, (*path, key), seen, paths)
        elif isinstance(value, Opaque):
            yield Layer(".".join(path), Sort.UNKNOWN, value.what, (), value.module.file, value.node)
        elif isinstance(value, Object):
            yield from _object(bodies, value, path, seen, paths)


def _object(
    bodies: Bodies, value: Object, path: Path, seen: tuple[Class, ...], paths: dict[str, None]
) -> Iterator[Layer]:
    where = ".".join(path)
    if isinstance(value.cls, External):
        sort = _external(value.cls.name)
        if sort is not None:
            name = value.cls.name
            yield Layer(where, sort, name, (name,), value.module.file, value.node)
        return
    names = tuple(full_name(one) for one in bodies.sources.mro(value.cls))
    sort = _sort(names)
    if sort is not None:
        outputs = _outputs(value)
        yield Layer(where, sort, names[0], names, value.module.file, value.node, outputs)
    elif not names[0].startswith(_LAYERS) and _modules(names):
        if len(path) >= _DEEP or seen.count(value.cls) > 1:
            return
        for name, inner in list(bodies.attributes(value).items()):
            yield from _walk(bodies, inner, (*path, name), (*seen, value.cls), paths)


def _sort(names: tuple[str, ...]) -> Sort | None:
    """What an instance of one of vLLM's classes is, if it is a layer."""
    if _LINEAR_BASE in names:
        return Sort.LINEAR
    if "torch.nn.Linear" in names:
        return Sort.PLAIN
    convolution = any(name.startswith(_CONVOLUTION) for name in names)
    if convolution or any(_TORCH_CONVOLUTION.fullmatch(name) for name in names):
        return Sort.CONVOLUTION
    return None


def _external(name: str) -> Sort | None:
    """The same for a class of another package; None for what has no weights to adapt."""
    if name == "torch.nn.Linear":
        return Sort.PLAIN
    if _TORCH_CONVOLUTION.fullmatch(name):
        return Sort.CONVOLUTION
    return Sort.UNKNOWN if makes_modules(name) else None


def _modules(names: tuple[str, ...]) -> bool:
    """Whether a class may hold modules."""
    return any(name.startswith("torch.nn.") or makes_modules(name) for name in names)


def _outputs(value: Object) -> int | None:
    given = value.given.named.get("output_sizes") or (
        value.given.args[1] if len(value.given.args) > 1 else []
    )
    sizes = [len(one.items) for one in given if isinstance(one, Items)]
    closed = all(index != "*" for one in given if isinstance(one, Items) for index, _ in one.items)
    return sizes[0] if len(set(sizes)) == 1 and closed else None
