"""Calls of a constructor: classes become instances, functions and methods are followed."""

import ast
import re
from abc import abstractmethod

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
_TOO_DEEP = "calls too deep to follow"
_REGISTERED = "init_vllm_registered_model"
_EXPERTS = "FusedMoE"
"""How a function begins that makes routed experts; older vLLMs have a class of that name."""
_INITIALIZE = "initialize_model"
"""vLLM's other way to make a language model: of a class that it is given."""


class Calls(Expressions):
    """Attributes and calls; `Bodies` adds the statements.

    `registry`: for language models that are made by their architecture; `language`: that of a
    config, where the code leaves it to the config.
    """

    def __init__(self, sources: Sources, registry: Registry, language: str = "") -> None:
        super().__init__(sources)
        self.registry = registry
        self.language = language
        self._depth = 0

    @abstractmethod
    def follow(self, body: list[ast.stmt], frame: Frame) -> None:
        """Follow the statements of a body."""

    def attributes(self, thing: Object) -> dict[str, Values]:
        """What the constructor gives the attributes of an instance of one of vLLM's classes."""
        if thing.attributes is None:
            thing.attributes = {}
            self.method(thing, "__init__", thing.given, None)
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
        return self.method(thing, name, Given(), None)

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
                        named(d, "property", "cached_property") for d in method.decorator_list
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
        if name == _INITIALIZE:
            return [
                Object(one.cls, frame.module, node, Given())
                for one in given.named.get("model_class", [])
                if isinstance(one, Type)
            ]
        if name.startswith(_EXPERTS):
            return [Object(External(name), frame.module, node, given)]
        if callee.this is None and not callee.module.name.startswith(MODELS):
            return []  # of vLLM's layers and machinery: no tower or connector comes from there
        if isinstance(callee.node, ast.Lambda):
            inner = Frame(callee.module, dict(callee.env), callee.this, callee.owner)
            self._arguments(callee.node.args, given, inner, method=False)
            return self.eval(callee.node.body, inner)
        done = self.run(callee, callee.node, given, frame.branches if callee.this else 0)
        return done.returns if done else [Opaque(_TOO_DEEP, frame.module, node)]

    def _registered(self, given: Given, node: ast.expr, frame: Frame) -> Value:
        """The language model of a name: made by its class where the code says which."""
        for name in strings(given.named.get("architectures", [])) or [self.language]:
            module, cls = self.registry.get(name, ("", ""))
            source = self.sources.module(f"{MODELS}.{module}") if module else None
            found = self.sources.find(source, cls) if source else None
            if isinstance(found, Class):
                return Object(found, frame.module, node, Given())
        return Opaque("a language model that the config names", frame.module, node)

    def run(self, callee: Call, node: FunctionNode, given: Given, branches: int) -> Frame | None:
        """Follow a function; None where it is called too deep within others."""
        if self._depth >= _DEEP:
            return None
        frame = Frame(callee.module, dict(callee.env), callee.this, callee.owner, branches)
        static = any(named(one, "staticmethod") for one in node.decorator_list)
        self._arguments(node.args, given, frame, method=callee.owner is not None and not static)
        self._depth += 1
        try:
            self.follow(node.body, frame)
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

    def method(
        self, thing: Object, name: str, given: Given, after: Class | None, branches: int = 0
    ) -> Frame | None:
        """Follow a method of an instance; `after`: the class whose `super()` is meant."""
        if not isinstance(thing.cls, Class):
            return None
        order = self.sources.mro(thing.cls)
        start = order.index(after) + 1 if after in order else 0
        for one in order[start:]:
            if isinstance(one, Class) and (node := one.method(name)) is not None:
                done = self.run(Call(one.module, node, {}, thing, one), node, given, branches)
                if done is None and name == "__init__":
                    self.attributes(thing)["*"] = [Opaque(_TOO_DEEP, thing.module, thing.node)]
                return done
            if name == "__init__" and isinstance(one, External) and makes_modules(one.name):
                made = Opaque(f"what {one.name} makes", thing.module, thing.node)
                self.attributes(thing).setdefault("*", []).append(made)
                return None
        return None


def makes_modules(name: str) -> bool:
    """Whether a class of another package, by its full name, makes modules that are not read."""
    return name.partition(".")[0] in _MAKERS and not _NO_MODEL.search(name)


def named(node: ast.expr, *names: str) -> bool:
    """Whether a name, or the last part of a dotted one, is one of these."""
    return getattr(node, "id", getattr(node, "attr", "")) in names
