"""Follows the statements of constructors and functions: what `self` gets, what is returned."""

import ast

from mm_lora.serving.scan.calls import Calls, named
from mm_lora.serving.scan.expressions import Frame
from mm_lora.serving.scan.sources import Class
from mm_lora.serving.scan.values import (
    Call,
    Given,
    Items,
    Mapping,
    Object,
    Type,
    Value,
    Values,
    strings,
    unpacked,
)


class Bodies(Calls):
    """Statements."""

    def follow(self, body: list[ast.stmt], frame: Frame) -> None:
        """See `Calls`."""
        for stmt in body:
            self._statement(stmt, frame)

    def _branch(self, body: list[ast.stmt], frame: Frame) -> None:
        frame.branches += 1
        self.follow(body, frame)
        frame.branches -= 1

    def _statement(self, stmt: ast.stmt, frame: Frame) -> None:
        match stmt:
            case ast.Assign():
                values = self.eval(stmt.value, frame)
                for target in stmt.targets:
                    self._assign(target, values, frame)
            case ast.AnnAssign() if stmt.value is not None:
                self._assign(stmt.target, self.eval(stmt.value, frame), frame)
            case ast.AugAssign():
                self._assign(stmt.target, self.eval(stmt.value, frame), frame, add=True)
            case ast.If():
                self.eval(stmt.test, frame)
                self._branch(stmt.body, frame)
                self._branch(stmt.orelse, frame)
            case ast.For():
                self.bind(stmt.target, self.each(self.eval(stmt.iter, frame)), frame)
                self._branch(stmt.body, frame)
            case ast.While():
                self._branch(stmt.body, frame)
            case ast.With():
                self.follow(stmt.body, frame)
            case ast.Try():
                self.follow(stmt.body, frame)
                for handler in stmt.handlers:
                    self._branch(handler.body, frame)
                self.follow(stmt.orelse + stmt.finalbody, frame)
            case ast.Return():
                frame.returns += self.eval(stmt.value, frame)
            case ast.FunctionDef():
                frame.env[stmt.name] = [Call(frame.module, stmt, frame.env, frame.this, None)]
            case ast.Expr(value=ast.Call() as call):
                self._effect(call, frame)

    def _assign(self, target: ast.expr, values: Values, frame: Frame, *, add: bool = False) -> None:
        match target:
            case ast.Name():
                old = frame.env.get(target.id, []) if frame.branches or add else []
                frame.env[target.id] = _joined(old, values)
            case ast.Tuple() | ast.List():
                for at, one in enumerate(target.elts):
                    self._assign(one, unpacked(values, at, len(target.elts)), frame)
            case ast.Attribute(value=ast.Name(id="self")) if frame.this is not None:
                self._set(frame.this, target.attr, values, frame, add=add)
            case ast.Subscript():
                keys = strings(self.eval(target.slice, frame))
                for held in self.eval(target.value, frame):
                    if isinstance(held, Mapping):
                        held.items.update(dict.fromkeys(keys or ["*"], values))

    def _set(
        self, this: Object, name: str, values: Values, frame: Frame, *, add: bool = False
    ) -> None:
        known = self.attributes(this)
        old = known.get(name, []) if frame.branches or add else []
        known[name] = _joined(old, values)

    def _effect(self, call: ast.Call, frame: Frame) -> None:
        """A call for what it does: super's constructor, a list that grows, an attribute by name."""
        func = call.func
        if isinstance(func, ast.Attribute):
            given = self.given(call, frame)
            if isinstance(func.value, ast.Call) and named(func.value.func, "super"):
                if frame.this is not None:
                    self.method(frame.this, func.attr, given, frame.owner, frame.branches)
                return
            held = self.eval(func.value, frame)
            if func.attr in (
                "append",
                "extend",
                "update",
                "insert",
                "add_module",
                "register_module",
            ):
                for value in held:
                    self._grow(value, func.attr, given, frame)
                if any(isinstance(value, Items | Mapping) for value in held):
                    return
            for value in held:
                if isinstance(value, Type) and func.attr == "__init__" and frame.this is not None:
                    if isinstance(value.cls, Class):
                        inner = Given(given.args[1:], given.named)
                        node = value.cls.method("__init__")
                        if node is not None:
                            self.run(
                                Call(value.cls.module, node, {}, frame.this, value.cls),
                                node,
                                inner,
                                frame.branches,
                            )
                    return
        elif named(func, "setattr") and len(call.args) == 3:
            target, name, values = (self.eval(one, frame) for one in call.args)
            for value in target:
                if isinstance(value, Object):
                    for key in strings(name) or ["*"]:
                        self._set(value, key, values, frame, add=True)
            return
        self.eval(call, frame)

    def _grow(self, value: Value, how: str, given: Given, frame: Frame) -> None:
        if not given.args:
            return
        if isinstance(value, Items) and how in ("append", "extend", "insert"):
            new = self.each(given.args[0]) if how == "extend" else given.args[-1]
            loose = frame.branches or any(index == "*" for index, _ in value.items)
            value.items.append(("*" if loose else str(len(value.items)), new))
        elif isinstance(value, Mapping) and how == "update":
            for one in given.args[0]:
                if isinstance(one, Mapping):
                    value.items.update(one.items)
        elif how in ("add_module", "register_module") and len(given.args) == 2:
            for key in strings(given.args[0]) or ["*"]:
                if isinstance(value, Object):
                    self._set(value, key, given.args[1], frame, add=True)


def _joined(old: Values, new: Values) -> Values:
    return old + [value for value in new if not any(value is one for one in old)]
