"""Follows the bodies of constructors and functions: what `self` gets, and what is returned."""

import ast
import re

from mm_lora.serving.scan.expressions import Expressions, Frame
from mm_lora.serving.scan.sources import (
    MODELS,
    Class,
    External,
    FunctionNode,
    Registry,
    Sources,
)
from mm_lora.serving.scan.values import (
    Call,
    Given,
    Items,
    Mapping,
    Object,
    Opaque,
    Partial,
    Type,
    Value,
    Values,
    strings,
)

_DEEP = 12
"""Calls within calls; a constructor that goes deeper is not followed further."""
_LISTS = frozenset({"torch.nn.ModuleList", "torch.nn.Sequential", "list", "tuple"})
_LAYER_LISTS = frozenset({"make_layers", "make_layers_with_offload"})
_MAKERS = frozenset({"transformers", "timm", "open_clip", "terratorch"})
_NO_MODEL = re.compile(r"Config|Processor|Extractor|Tokenizer|ACT2FN|Norm|Rotary|activation|Cache")
_REGISTERED = "init_vllm_registered_model"


class Bodies(Expressions):
    """Statements and calls. `registry`: for language models that are made by their architecture."""

    def __init__(self, sources: Sources, registry: Registry) -> None:
        super().__init__(sources)
        self.registry = registry
        self._depth = 0

    def attributes(self, thing: Object) -> dict[str, Values]:
        """What the constructor gives the attributes of an instance of one of vLLM's classes."""
        if thing.attributes is None:
            thing.attributes = {}
            self._method(thing, "__init__", thing.given, None)
        return thing.attributes

    def constant(self, cls: Class, name: str) -> Values:
        """What a class attribute can be, its own or inherited."""
        for one in self.sources.mro(cls):
            node = one.attribute(name) if isinstance(one, Class) else None
            if isinstance(one, Class) and node is not None:
                return self.eval(node, Frame(one.module, {}, owner=one))
        return []

    def invoke(self, thing: Object, name: str) -> Frame | None:
        """The frame of a method after it was followed; None where vLLM defines no such method."""
        return self._method(thing, name, Given(), None)

    def attribute(self, value: Value, name: str, node: ast.expr, frame: Frame) -> Values:
        """See `Expressions`."""
        if isinstance(value, Object) and isinstance(value.cls, Class):
            known = self.attributes(value)
            if name in known:
                return known[name]
            return self._of_class(value.cls, name, value)
        if isinstance(value, Type) and isinstance(value.cls, Class):
            return self._of_class(value.cls, name, None)
        if isinstance(value, Type) and isinstance(value.cls, External):
            return [Type(External(f"{value.cls.name}.{name}"))]
        return [value] if isinstance(value, Opaque) else []

    def call(self, callee: Value, given: Given, node: ast.expr, frame: Frame) -> Values:
        """See `Expressions`."""
        match callee:
            case Type(cls=External(name="functools.partial")) if given.args:
                return [Partial(given.args[0], Given(given.args[1:], given.named))]
            case Type(cls=External(name=name)) if name in _LISTS:
                return [self._list(given, name)]
            case Type(cls=External(name="torch.nn.ModuleDict")):
                return [one for values in given.args for one in values if isinstance(one, Mapping)]
            case Type():
                return [Object(callee.cls, frame.module, node, given)]
            case Partial():
                whole = callee.given.plus(given)
                return [v for one in callee.of for v in self.call(one, whole, node, frame)]
            case Call():
                return self._function(callee, given, node, frame)
            case Opaque():
                return [callee]
            case _:
                return []

    def _of_class(self, cls: Class, name: str, this: Object | None) -> Values:
        for one in self.sources.mro(cls):
            if isinstance(one, Class):
                if (method := one.method(name)) is not None:
                    found = Call(one.module, method, {}, this, one)
                    is_property = any(
                        _named(d, "property", "cached_property") for d in method.decorator_list
                    )
                    return (
                        self._function(found, Given(), ast.Constant(None), Frame(one.module, {}))
                        if is_property
                        else [found]
                    )
                if (node := one.attribute(name)) is not None:
                    return self.eval(node, Frame(one.module, {}, owner=one))
        return []

    def _list(self, given: Given, name: str) -> Items:
        if name == "torch.nn.Sequential":
            return Items([(str(at), values) for at, values in enumerate(given.args)])
        lists = [v for values in given.args for v in values if isinstance(v, Items)]
        return Items([item for one in lists for item in one.items])

    def _function(self, callee: Call, given: Given, node: ast.expr, frame: Frame) -> Values:
        name = getattr(callee.node, "name", "")
        if name in _LAYER_LISTS:
            made = given.args[1] if len(given.args) > 1 else given.named.get("layer_fn", [])
            layers = [v for one in made for v in self.call(one, Given(), node, frame)]
            return [Items([("0", []), ("1", []), ("2", [Items([("*", layers)])])])]
        if name == _REGISTERED:
            return [self._registered(given, node, frame)]
        if callee.this is None and not callee.module.name.startswith(MODELS):
            return []  # of vLLM's layers and machinery: no tower or connector comes from there
        if isinstance(callee.node, ast.Lambda):
            inner = Frame(callee.module, dict(callee.env), callee.this, callee.owner)
            self._arguments(callee.node.args, given, inner, method=False)
            return self.eval(callee.node.body, inner)
        done = self._run(callee, callee.node, given, frame.branches if callee.this else 0)
        return done.returns if done else []

    def _registered(self, given: Given, node: ast.expr, frame: Frame) -> Value:
        """The language model of a name: made by its class where the code says which."""
        for name in strings(given.named.get("architectures", [])):
            module, cls = self.registry.get(name, ("", ""))
            source = self.sources.module(f"{MODELS}.{module}") if module else None
            found = self.sources.find(source, cls) if source else None
            if isinstance(found, Class):
                return Object(found, frame.module, node, Given())
        return Opaque("a language model that the config names", frame.module, node)

    def _run(self, callee: Call, node: FunctionNode, given: Given, branches: int) -> Frame | None:
        if self._depth >= _DEEP:
            return None
        frame = Frame(callee.module, dict(callee.env), callee.this, callee.owner, branches)
        static = any(_named(one, "staticmethod") for one in node.decorator_list)
        self._arguments(node.args, given, frame, method=callee.owner is not None and not static)
        self._depth += 1
        try:
            self._body(node.body, frame)
        finally:
            self._depth -= 1
        return frame

    def _arguments(self, args: ast.arguments, given: Given, frame: Frame, *, method: bool) -> None:
        names = [one.arg for one in (*args.posonlyargs, *args.args)]
        for one, default in zip(reversed(names), reversed(args.defaults), strict=False):
            frame.env[one] = self.eval(default, frame)
        for arg, other in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            frame.env[arg.arg] = self.eval(other, frame)
        if method and names:
            first, *names = names
            frame.env[first] = [frame.this] if frame.this else []
            if frame.this is None and frame.owner is not None:
                frame.env[first] = [Type(frame.owner)]
        for one in names:
            frame.env.setdefault(one, [])
        frame.env.update(zip(names, given.args, strict=False))
        if args.vararg:
            frame.env[args.vararg.arg] = [Items([("*", v) for v in given.args[len(names) :]])]
        taken = {*names, *(arg.arg for arg in args.kwonlyargs)}
        frame.env.update({key: values for key, values in given.named.items() if key in taken})
        if args.kwarg:
            rest = {key: values for key, values in given.named.items() if key not in taken}
            frame.env[args.kwarg.arg] = [Mapping(rest)]

    def _method(
        self, thing: Object, name: str, given: Given, after: Class | None, branches: int = 0
    ) -> Frame | None:
        """Follow a method of an instance; `after`: the class whose `super()` is meant."""
        if not isinstance(thing.cls, Class):
            return None
        order = self.sources.mro(thing.cls)
        start = order.index(after) + 1 if after in order else 0
        for one in order[start:]:
            if isinstance(one, Class) and (node := one.method(name)) is not None:
                return self._run(Call(one.module, node, {}, thing, one), node, given, branches)
            if name == "__init__" and isinstance(one, External) and makes_modules(one.name):
                made = Opaque(f"what {one.name} makes", thing.module, thing.node)
                self.attributes(thing).setdefault("*", []).append(made)
                return None
        return None

    # Statements.

    def _body(self, body: list[ast.stmt], frame: Frame) -> None:
        for stmt in body:
            self._statement(stmt, frame)

    def _branch(self, body: list[ast.stmt], frame: Frame) -> None:
        frame.branches += 1
        self._body(body, frame)
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
                self._body(stmt.body, frame)
            case ast.Try():
                self._body(stmt.body, frame)
                for handler in stmt.handlers:
                    self._branch(handler.body, frame)
                self._body(stmt.orelse + stmt.finalbody, frame)
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
                    parts = [
                        v.items[at][1]
                        for v in values
                        if isinstance(v, Items) and len(v.items) == len(target.elts)
                    ]
                    self._assign(one, [v for part in parts for v in part], frame)
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
            if isinstance(func.value, ast.Call) and _named(func.value.func, "super"):
                if frame.this is not None:
                    self._method(frame.this, func.attr, given, frame.owner, frame.branches)
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
                            self._run(
                                Call(value.cls.module, node, {}, frame.this, value.cls),
                                node,
                                inner,
                                frame.branches,
                            )
                    return
        elif _named(func, "setattr") and len(call.args) == 3:
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


def makes_modules(name: str) -> bool:
    """Whether a class of another package, by its full name, makes modules that nobody here reads."""
    return name.partition(".")[0] in _MAKERS and not _NO_MODEL.search(name)


def _named(node: ast.expr, *names: str) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) in names


def _joined(old: Values, new: Values) -> Values:
    return old + [value for value in new if not any(value is one for one in old)]
