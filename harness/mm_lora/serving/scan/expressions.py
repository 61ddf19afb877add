"""Follows an expression of a constructor to what it can be: every way through, no arithmetic."""

import ast
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from mm_lora.serving.scan.sources import (
    Assigned,
    Class,
    External,
    Function,
    Module,
    Sources,
    Symbol,
)
from mm_lora.serving.scan.values import (
    Call,
    Constant,
    Env,
    Given,
    Items,
    Mapping,
    Object,
    Opaque,
    Type,
    Value,
    Values,
    unpacked,
)

_SAME = frozenset(
    {"to", "cuda", "cpu", "eval", "train", "half", "float", "bfloat16", "requires_grad_", "type"}
)
"""Methods of a module that return the module."""


@dataclass
class Frame:
    """A body that is being followed. `this`: its `self`; `owner`: the class that defines it;
    `branches`: how deep in ifs and loops it is; `returns`: what it returned so far."""

    module: Module
    env: Env
    this: Object | None = None
    owner: Class | None = None
    branches: int = 0
    returns: Values = field(default_factory=list)


class Expressions(ABC):
    """Expressions; `Bodies` adds the statements and the calls."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self._open: set[Assigned] = set()

    @abstractmethod
    def call(self, callee: Value, given: Given, node: ast.expr, frame: Frame) -> Values:
        """What calling it gives."""

    @abstractmethod
    def attribute(self, value: Value, name: str, node: ast.expr, frame: Frame) -> Values:
        """What an attribute of it can be."""

    def eval(self, node: ast.expr | None, frame: Frame) -> Values:
        """What the expression can be."""
        match node:
            case ast.Constant():
                return [Constant(node.value)]
            case ast.JoinedStr():
                parts = (getattr(one, "value", "") for one in node.values)
                return [Constant("".join(p if isinstance(p, str) else "*" for p in parts))]
            case ast.Name():
                return self._name(node, frame)
            case ast.Attribute():
                return self._attribute(node, frame)
            case ast.Call():
                return self._call(node, frame)
            case ast.IfExp():
                return self.eval(node.body, frame) + self.eval(node.orelse, frame)
            case ast.BoolOp():
                return [value for one in node.values for value in self.eval(one, frame)]
            case ast.NamedExpr():
                found = self.eval(node.value, frame)
                frame.env[node.target.id] = found
                return found
            case ast.List() | ast.Tuple() | ast.Set():
                return [Items(self.elements(node.elts, frame))]
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                self._bind(node.generators, frame)
                return [Items([("*", self.eval(node.elt, frame))])]
            case ast.Dict():
                return [self._dict(node, frame)]
            case ast.DictComp():
                self._bind(node.generators, frame)
                return [Mapping({"*": self.eval(node.value, frame)})]
            case ast.Lambda():
                return [Call(frame.module, node, frame.env, frame.this, frame.owner)]
            case ast.BinOp():
                return self._binary(node, frame)
            case ast.Subscript():
                return self._subscript(node, frame)
            case _:
                return []

    def elements(self, nodes: list[ast.expr], frame: Frame) -> list[tuple[str, Values]]:
        """The items of a display or of arguments: numbered, as far as nothing is starred."""
        found: list[tuple[str, Values]] = []
        loose = False
        for node in nodes:
            if isinstance(node, ast.Starred):
                for value in self.eval(node.value, frame):
                    for index, inner in value.items if isinstance(value, Items) else ():
                        loose = loose or index == "*"
                        found.append(("*" if loose else str(len(found)), inner))
                loose = True
            else:
                found.append(("*" if loose else str(len(found)), self.eval(node, frame)))
        return found

    def given(self, node: ast.Call, frame: Frame) -> Given:
        """The arguments of a call."""
        args = tuple(values for _, values in self.elements(node.args, frame))
        named: Env = {}
        for keyword in node.keywords:
            values = self.eval(keyword.value, frame)
            if keyword.arg is not None:
                named[keyword.arg] = values
                continue
            for value in values:
                if isinstance(value, Mapping):
                    named.update(value.items)
        return Given(args, named)

    def meaning(self, symbol: Symbol | None) -> Values:
        """A name of a module as values."""
        match symbol:
            case Class() | External():
                return [Type(symbol)]
            case Function():
                return [Call(symbol.module, symbol.node)]
            case Assigned() if symbol not in self._open:  # it may speak of itself
                self._open.add(symbol)
                found = self.eval(symbol.node, Frame(symbol.module, {}))
                self._open.discard(symbol)
                return found
            case _:
                return []

    def _name(self, node: ast.Name, frame: Frame) -> Values:
        if node.id in frame.env:
            return frame.env[node.id]
        if node.id == "super":
            return []
        return self.meaning(self.sources.find(frame.module, node.id))

    def _attribute(self, node: ast.Attribute, frame: Frame) -> Values:
        root = node.value
        while isinstance(root, ast.Attribute):
            root = root.value
        if isinstance(root, ast.Name) and root.id not in frame.env:
            found = self.sources.dotted(frame.module, node)
            if found is not None:
                return self.meaning(found)
        values = self.eval(node.value, frame)
        return [one for value in values for one in self.attribute(value, node.attr, node, frame)]

    def _call(self, node: ast.Call, frame: Frame) -> Values:
        func = node.func
        given = self.given(node, frame)
        if isinstance(func, ast.Attribute) and func.attr in _SAME:
            held = self.eval(func.value, frame)
            kept: Values = [v for v in held if isinstance(v, Object | Items | Opaque)]
            if kept:
                return kept
        callees = self.eval(func, frame)
        chosen = isinstance(func, ast.Name) and func.id in frame.env
        if not callees and (chosen or isinstance(func, ast.Subscript)):
            return [Opaque(f"{ast.unparse(func)}, which is chosen at run time", frame.module, node)]
        return [one for callee in callees for one in self.call(callee, given, node, frame)]

    def _dict(self, node: ast.Dict, frame: Frame) -> Mapping:
        found: dict[str, Values] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            values = self.eval(value, frame)
            if key is None:  # **other
                for other in values:
                    if isinstance(other, Mapping):
                        found.update(other.items)
                continue
            for name in self.eval(key, frame) or [Constant("*")]:
                text = str(name.value) if isinstance(name, Constant) else "*"
                found[text] = found.get(text, []) + values if text == "*" else values
        return Mapping(found)

    def _binary(self, node: ast.BinOp, frame: Frame) -> Values:
        left, right = self.eval(node.left, frame), self.eval(node.right, frame)
        if isinstance(node.op, ast.BitOr):
            merged: dict[str, Values] = {}
            for value in (*left, *right):
                if isinstance(value, Mapping):
                    merged.update(value.items)
            return [Mapping(merged)] if merged else []
        if isinstance(node.op, ast.Add):
            lists = [value for value in (*left, *right) if isinstance(value, Items)]
            if lists:
                return [Items(_numbered([item for one in lists for item in one.items]))]
        if isinstance(node.op, ast.Mult):
            return [Items([("*", v.all())]) for v in (*left, *right) if isinstance(v, Items)]
        return []

    def _subscript(self, node: ast.Subscript, frame: Frame) -> Values:
        keys = [str(k.value) for k in self.eval(node.slice, frame) if isinstance(k, Constant)]
        found: Values = []
        for value in self.eval(node.value, frame):
            if isinstance(value, Items):
                picked = [v for index, v in value.items if index in keys]
                exact = len(keys) == 1 and picked and all(i != "*" for i, _ in value.items)
                found += picked[0] if exact else value.all()
            elif isinstance(value, Mapping):
                known = [value.items[key] for key in keys if key in value.items]
                every = known or list(value.items.values())
                found += [one for values in every for one in values]
            elif isinstance(value, Type):
                found.append(value)  # Generic[…]
            elif isinstance(value, Opaque):
                found.append(value)
        return found

    def _bind(self, generators: list[ast.comprehension], frame: Frame) -> None:
        for one in generators:
            self.bind(one.target, self.each(self.eval(one.iter, frame)), frame)

    def each(self, values: Values) -> Values:
        """What an element of any of them can be."""
        return [one for value in values if isinstance(value, Items) for one in value.all()]

    def bind(self, target: ast.expr, values: Values, frame: Frame) -> None:
        """Give the names of a target their values."""
        if isinstance(target, ast.Name):
            frame.env[target.id] = values
        elif isinstance(target, ast.Tuple | ast.List):
            for at, one in enumerate(target.elts):
                self.bind(one, unpacked(values, at, len(target.elts)), frame)


def _numbered(items: list[tuple[str, Values]]) -> list[tuple[str, Values]]:
    loose = any(index == "*" for index, _ in items)
    return [("*" if loose else str(at), values) for at, (_, values) in enumerate(items)]
