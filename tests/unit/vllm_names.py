"""Which modules, functions, classes and members a vLLM has, read in its source: nothing of it runs.

A hook point is "module:name" or "module:Class.member". Names that a module imports from another
one and members that a class inherits are followed, within the package.
"""

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mm_lora.core.resources import cache_dir
from mm_lora.install import stamp

Node = ast.stmt | ast.alias


@dataclass
class VllmNames:
    """The package below `folder`; its name is the folder's."""

    folder: Path
    version: str
    _known: dict[str, dict[str, tuple[Node, str]]] = field(default_factory=dict)

    def has(self, point: str) -> bool:
        """Whether the hook point is there."""
        module, _, path = point.partition(":")
        return self._has(module, path.split("."))

    def _has(self, module: str, path: list[str], seen: tuple[object, ...] = ()) -> bool:
        if (module, *path) in seen:
            return False
        seen = (*seen, (module, *path))
        name, *rest = path
        node, home = self._names(module).get(name, (None, ""))
        if isinstance(node, ast.alias):
            if home.partition(".")[0] != self.folder.name:
                return not rest  # from another package: there, and no more is known
            if self._file(f"{home}.{node.name}") is not None:
                return not rest or self._has(f"{home}.{node.name}", rest, seen)
            return self._has(home, [node.name, *rest], seen)
        if node is None or not rest:
            return node is not None
        if not isinstance(node, ast.ClassDef):
            return False
        if rest[0] in dict(_defined(node.body)):
            return len(rest) == 1
        bases = (ast.unparse(base).partition("[")[0].split(".") for base in node.bases)
        return any(self._has(module, [*base, *rest], seen) for base in bases)

    def _names(self, module: str) -> dict[str, tuple[Node, str]]:
        """Each name that the module binds → what binds it, and the module that it comes from."""
        if module not in self._known:
            file = self._file(module)
            names: dict[str, tuple[Node, str]] = {}
            for name, node in _defined(_parsed(file)) if file else ():
                if not isinstance(node, ast.ImportFrom | ast.Import):
                    names[name] = node, module
                    continue
                alias = next(a for a in node.names if name in (a.asname, a.name))
                names[name] = alias, _home(node, module, file)
            self._known[module] = names
        return self._known[module]

    def _file(self, module: str) -> Path | None:
        top, *inner = module.split(".")
        if top != self.folder.name:
            return None
        place = self.folder.joinpath(*inner)
        places = (place / "__init__.py", place.with_suffix(".py"))
        return next((file for file in places if file.is_file()), None)


def _parsed(file: Path) -> list[ast.stmt]:
    return ast.parse(file.read_text(encoding="utf-8")).body


def _home(node: ast.ImportFrom | ast.Import, module: str, file: Path | None) -> str:
    """The module that an import's names come from, dots in front resolved."""
    if isinstance(node, ast.Import) or not node.level:
        return "" if isinstance(node, ast.Import) else node.module or ""
    package = module.split(".")
    if file is None or file.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *filter(None, [node.module])])


def _defined(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """(name, statement) of what is bound in `body`, below if, try and with too."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, node
        else:
            for part in ("body", "orelse", "finalbody"):
                yield from _defined(getattr(node, part, ()))
            for handler in getattr(node, "handlers", ()):
                yield from _defined(handler.body)


def at_hand() -> list[VllmNames]:
    """This interpreter's vLLM and those of the environments that `mm-lora matrix` has made."""
    spec = importlib.util.find_spec("vllm")
    folders = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    for environment in sorted((cache_dir() / "environments").glob("*")):
        made = stamp.read(environment)
        if made is not None and made.state == "ready":
            folders += environment.glob("lib/python*/site-packages/vllm")
    return [VllmNames(folder, version) for folder in folders for version in _versions(folder)]


def _versions(folder: Path) -> list[str]:
    """What the package's own distribution says, if one does; an alias of version 0.0.0 is none."""
    names = (entry.name for entry in folder.parent.glob("vllm*-*.dist-info"))
    found = (re.fullmatch(r"vllm(?:_cpu)?-(.+)\.dist-info", name) for name in names)
    return [match[1] for match in found if match and match[1] != "0.0.0"][:1]
