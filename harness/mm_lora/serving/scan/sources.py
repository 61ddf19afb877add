"""vLLM's modules as syntax trees, read when asked for; names are followed through imports."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mm_lora.serving.syntax import parsed

ROOT = "vllm"
MODELS = f"{ROOT}.model_executor.models"
_READ = (f"{ROOT}.model_executor.", f"{ROOT}.lora.layers.")
"""Where modules, layers and what wraps them are; what else vLLM has, makes neither."""
INTERFACES = f"{MODELS}.interfaces"

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, eq=False)
class Class:
    """A class of vLLM's."""

    module: "Module"
    node: ast.ClassDef

    @property
    def name(self) -> str:
        """Its name, without the module's."""
        return self.node.name

    def method(self, name: str) -> FunctionNode | None:
        """The method that the class itself defines, the last if there are several."""
        return self._methods.get(name)

    def attribute(self, name: str) -> ast.expr | None:
        """The value that the class itself gives an attribute."""
        return self._attributes.get(name)

    @cached_property
    def _methods(self) -> dict[str, FunctionNode]:
        return {one.name: one for one in self.node.body if isinstance(one, ast.FunctionDef)}

    @cached_property
    def _attributes(self) -> dict[str, ast.expr]:
        return dict(_assigned(self.node.body))


@dataclass(frozen=True, eq=False)
class Function:
    """A function of vLLM's."""

    module: "Module"
    node: FunctionNode


@dataclass(frozen=True)
class External:
    """What another package defines, by its full name: `torch.nn.Linear`."""

    name: str


@dataclass(frozen=True, eq=False)
class Assigned:
    """What a module assigns to a name."""

    module: "Module"
    node: ast.expr


Symbol = Class | Function | External | Assigned
"""A name's meaning."""


@dataclass(eq=False)
class Module:
    """One file. `name`: dotted; `file`: below vLLM's folder."""

    name: str
    file: str
    tree: ast.Module
    is_package: bool = False
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name here → (module, name there), "" for the module itself."""
    symbols: dict[str, Symbol] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in _statements(self.tree.body):
            if isinstance(node, ast.Import):
                for one in node.names:
                    whole = one.name if one.asname else one.name.partition(".")[0]
                    self.imports[one.asname or whole] = (whole, "")
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                for one in node.names:
                    self.imports[one.asname or one.name] = (base, one.name)
        for name, value in _assigned(self.tree.body):
            self.symbols[name] = Assigned(self, value)
        for stmt in _top(self.tree.body):
            if isinstance(stmt, ast.ClassDef):
                self.symbols[stmt.name] = Class(self, stmt)
            elif isinstance(stmt, ast.FunctionDef):
                self.symbols[stmt.name] = Function(self, stmt)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - node.level + int(self.is_package)]
        return ".".join([*parts, *([node.module] if node.module else [])])


class Sources:
    """The vLLM in `folder`, its package's own folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._modules: dict[str, Module | None] = {}
        self._mros: dict[Class, list[Class | External]] = {}

    def module(self, name: str) -> Module | None:
        """The module of that dotted name; None where vLLM has none that can be read."""
        if name not in self._modules:
            self._modules[name] = self._read(name)
        return self._modules[name]

    def find(self, module: Module, name: str) -> Symbol | None:
        """The meaning of a name in a module, through imports; None where nobody knows it."""
        return self._find(module, name, frozenset())

    def _find(self, module: Module, name: str, seen: frozenset[tuple[str, str]]) -> Symbol | None:
        if name in module.symbols:
            return module.symbols[name]
        if name not in module.imports or (module.name, name) in seen:
            return None
        source, theirs = module.imports[name]
        if (whole := self.module(source)) is None or not theirs:
            return External(f"{source}.{theirs}" if theirs else source)
        found = self._find(whole, theirs, seen | {(module.name, name)})
        return found or External(f"{source}.{theirs}")

    def dotted(self, module: Module, node: ast.expr) -> Symbol | None:
        """The meaning of `a` or `a.b.c`."""
        if isinstance(node, ast.Subscript):
            return self.dotted(module, node.value)
        if isinstance(node, ast.Name):
            return self.find(module, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(module, node.value)
            if isinstance(base, External):
                inner = self.module(base.name)
                found = self.find(inner, node.attr) if inner else None
                return found or External(f"{base.name}.{node.attr}")
        return None

    def mro(self, cls: Class) -> list[Class | External]:
        """The class and its bases, nearest first; a base of several stays where it is last."""
        if cls not in self._mros:
            self._mros[cls] = [cls]  # a class that is its own base ends here
            found: list[Class | External] = []
            for node in cls.node.bases:
                base = self.dotted(cls.module, node)
                if isinstance(base, Class):
                    found += self.mro(base)
                elif isinstance(base, External):
                    found.append(base)
            last = {one: at for at, one in enumerate(found)}
            ordered = [one for at, one in enumerate(found) if last[one] == at]
            self._mros[cls] = [cls, *(one for one in ordered if one is not cls)]
        return self._mros[cls]

    def ancestry(self, cls: Class) -> frozenset[str]:
        """The full names of the class and all its bases."""
        return frozenset(full_name(one) for one in self.mro(cls))

    def models(self, cls: Class) -> list[Class]:
        """The class and those bases that are no interface: what a model itself says."""
        return [
            one for one in self.mro(cls) if isinstance(one, Class) and one.module.name != INTERFACES
        ]

    def _read(self, name: str) -> Module | None:
        if not f"{name}.".startswith(_READ):
            return None
        parts = name.split(".")
        place = self.folder.joinpath(*parts[1:])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if (tree := parsed(file)) is None:
                continue
            below = file.relative_to(self.folder).as_posix()
            return Module(name, below, tree, is_package=file.name == "__init__.py")
        return None


def full_name(one: Class | External) -> str:
    """`torch.nn.Linear`, `vllm.model_executor.models.clip.CLIPVisionModel`."""
    return one.name if isinstance(one, External) else f"{one.module.name}.{one.name}"


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a module, those behind `if` and `try` too."""
    for stmt in body:
        yield stmt
        for part in ("body", "orelse", "handlers"):
            if isinstance(stmt, ast.If | ast.Try):
                inner = getattr(stmt, part, [])
                yield from _top([one for one in inner if isinstance(one, ast.stmt)])


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """All statements, those inside functions and classes too, but no expressions."""
    for stmt in body:
        yield stmt
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            for inner in getattr(stmt, part, ()):
                yield from _statements([inner])


def _assigned(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for node in body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, node.value


Registry = Mapping[str, tuple[str, str]]
"""Architecture → (module below vLLM's models, class)."""
