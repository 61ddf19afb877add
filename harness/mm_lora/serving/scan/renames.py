"""How a model class of vLLM's renames an adapter's keys before LoRA looks for their modules."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mm_lora.serving.scan.bodies import Bodies
from mm_lora.serving.scan.sources import Class
from mm_lora.serving.scan.values import Object, Values

NAME = "hf_to_vllm_mapper"
_KINDS = ("regex", "substr", "prefix", "suffix")
"""In the order in which vLLM takes them (model_executor/models/utils.py::WeightsMapper). Stacked
names and names that are dropped stay: LoRA asks for the renames alone."""


@dataclass(frozen=True)
class Renames:
    """`steps`: (kind, old, new), each tried on what the one before left. `unread`: a part of the
    mapper is made at run time, so that other names may be known too."""

    steps: tuple[tuple[str, str, str], ...] = ()
    unread: bool = False

    def of(self, name: str) -> str:
        """The name in vLLM of a weight in an adapter."""
        for kind, old, new in self.steps:
            if kind == "regex":
                name = re.sub(old, new, name)
            elif kind == "substr" or (kind == "prefix" and name.startswith(old)):
                name = name.replace(old, new, 1)
            elif kind == "suffix" and name.endswith(old):
                name = name.removesuffix(old) + new
        return name


def renames(bodies: Bodies, model: Object) -> Renames:
    """Those of a class; none where it has no mapper."""
    if not isinstance(model.cls, Class):
        return Renames()
    held: Values = bodies.attributes(model).get(NAME) or bodies.constant(model.cls, NAME)
    made = [one for one in held if isinstance(one, Object) and isinstance(one.node, ast.Call)]
    if not made:
        assigned = any(one.attribute(NAME) is not None for one in bodies.sources.models(model.cls))
        return Renames(unread=assigned)
    call = made[-1].node
    assert isinstance(call, ast.Call)
    steps: list[tuple[str, str, str]] = []
    unread = bool(call.args)
    tables = {word.arg: word.value for word in call.keywords}
    for kind in _KINDS:
        node = tables.get(f"orig_to_new_{kind}")
        if node is None:
            continue
        pairs = list(_pairs(node))
        unread = unread or any(pair is None for pair in pairs)
        steps += [(kind, *pair) for pair in pairs if pair is not None and pair[1] is not None]
    return Renames(tuple(steps), unread or "orig_to_new_renaming" in tables)


def _pairs(node: ast.expr) -> Iterator[Any]:
    """(old, new) of a dictionary in source; None for what is no literal."""
    match node:
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                old, new = _text(key), value
                literal = old is not None and isinstance(new, ast.Constant)
                yield (old, new.value) if literal and isinstance(new, ast.Constant) else None
        case ast.Call(func=ast.Attribute(attr="fromkeys"), args=[ast.List() as keys, *rest]):
            value = rest[0] if rest else ast.Constant(None)
            for key in keys.elts:
                old = _text(key)
                known = old is not None and isinstance(value, ast.Constant)
                yield (old, value.value) if known and isinstance(value, ast.Constant) else None
        case _:
            yield None


def _text(node: ast.expr | None) -> str | None:
    """A text, or the pattern of `re.compile(text)`."""
    if isinstance(node, ast.Call) and node.args and getattr(node.func, "attr", "") == "compile":
        node = node.args[0]
    found = node.value if isinstance(node, ast.Constant) else None
    return found if isinstance(found, str) else None
