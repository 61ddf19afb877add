"""Runs actions when a module is imported, and replaces functions: a missing one is an error."""

import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


class HookGone(Exception):
    """A module or attribute that a patch needs is not in this vLLM; the message names it."""


_waiting: dict[str, list[Action]] = {}


def when_imported(name: str, action: Action) -> bool:
    """Run `action` on the module: at once if it is loaded, else right after its import.

    Right after: before the importing statement binds any name of it. Returns whether it ran.
    """
    module = sys.modules.get(name)
    if module is not None:
        action(module)
        return True
    _waiting.setdefault(name, []).append(action)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    return False


def module_exists(name: str) -> bool:
    """Whether the module's file is there, without importing it or any part of its package.

    Packages that are loaded tell where they look; the rest of the path is looked up as files.
    """
    if name in sys.modules:
        return True
    parts = name.split(".")
    if parts[0] not in sys.modules:
        top = importlib.util.find_spec(parts[0])
        places = list(top.submodule_search_locations or []) if top else []
        if len(parts) == 1:
            return top is not None
    else:
        places = list(getattr(sys.modules[parts[0]], "__path__", []))
    suffixes = ["/__init__.py", ".py", *importlib.machinery.EXTENSION_SUFFIXES]
    inner = "/".join(parts[1:])
    return any(
        Path(f"{place}/{inner}{suffix}").is_file() for place in places for suffix in suffixes
    )


def require(module: ModuleType, path: str) -> None:
    """Raise HookGone unless `module` has `path`: a name, a member of a class, a dataclass field."""
    owner, name = _owner(module, path)
    if not hasattr(owner, name) and name not in getattr(owner, "__dataclass_fields__", ()):
        raise HookGone(f"{module.__name__}:{path}: no '{name}'")


def has(module: ModuleType, path: str) -> bool:
    """Whether `require` finds it."""
    try:
        require(module, path)
    except HookGone:
        return False
    return True


def _owner(module: ModuleType, path: str) -> tuple[Any, str]:
    """The module, or the class in it, that has the last name of `path`; and that name."""
    owner: Any = module
    *outer, name = path.split(".")
    for part in outer:
        if not hasattr(owner, part):
            raise HookGone(f"{module.__name__}:{path}: no '{part}'")
        owner = getattr(owner, part)
    return owner, name


def replace(
    module: ModuleType,
    path: str,
    make: Callable[[Callable[..., Any]], Callable[..., Any]],
) -> None:
    """Put `make(original)` in the place of `path` ("function" or "Class.method") of `module`.

    A function of a module is also replaced wherever a loaded module of the same package bound it
    by name; of a property its getter. Raises HookGone naming the hook point.
    """
    owner, name = _owner(module, path)
    raw = inspect.getattr_static(owner, name, None)
    if isinstance(raw, staticmethod | classmethod):
        setattr(owner, name, type(raw)(make(raw.__func__)))
        return
    if isinstance(raw, property) and raw.fget is not None:
        setattr(owner, name, property(make(raw.fget)))
        return
    if raw is None or not callable(raw):
        lost = f"no '{name}'" if raw is None else f"'{name}' is no function"
        raise HookGone(f"{module.__name__}:{path}: {lost}")
    replaced = make(raw)
    setattr(owner, name, replaced)
    if owner is module:
        _rebind(module.__name__.partition(".")[0], raw, replaced)


def _rebind(package: str, original: Any, replaced: Any) -> None:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == package and module is not None:
            for key, value in list(vars(module).items()):
                if value is original:
                    setattr(module, key, replaced)


class _Finder(importlib.abc.MetaPathFinder):
    """Asks the other finders for a module that somebody waits for, and wraps its loader."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _waiting:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """The module's own loader, then the waiting actions."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._own.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not None:
            module.__spec__.loader = self._own
        module.__loader__ = self._own
        self._own.exec_module(module)
        for action in _waiting.pop(module.__name__, []):
            action(module)


_FINDER = _Finder()
