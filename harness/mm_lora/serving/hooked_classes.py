"""Which model classes of a vLLM have the tower/connector LoRA hooks, read in its source."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mm_lora.serving.server.source import COUNTS, MODELS, PAIR
from mm_lora.serving.syntax import many_trees, parsed

FLAG = "supports_tower_connector_lora"
MAPPING = "get_mm_mapping"


@dataclass(frozen=True, kw_only=True)
class HookedClass:
    """A registered class with a count hook. `architectures`: names in config.json that it serves.

    `flag`: its capability flag, None where this vLLM has no such flag. `mapping`: whether it says
    which modules are tower and connector.
    """

    module: str
    name: str
    architectures: tuple[str, ...]
    flag: bool | None
    mapping: bool


@dataclass(frozen=True)
class _Class:
    module: str
    bases: tuple[str, ...]
    defined: frozenset[str]
    flag: bool | None


def hooked_classes(package: Path) -> list[HookedClass]:
    """The registered classes of the vLLM in `package` (its folder) that define a count hook, or
    inherit one from another model's class. Nothing of vLLM is imported; sorted by name."""
    folder = package / MODELS
    places = registered(folder / "registry.py")
    with many_trees():
        known = _all_classes(folder)
    found = []
    for (module, name), architectures in sorted(places.items(), key=lambda item: item[0][1]):
        lineage = list(_lineage(name, known))
        defined = {one for cls in lineage for one in cls.defined}
        if COUNTS not in defined and not set(PAIR) <= defined:
            continue
        flags = [cls.flag for cls in lineage if cls.flag is not None]
        found.append(
            HookedClass(
                module=module,
                name=name,
                architectures=tuple(architectures),
                flag=flags[0] if flags else None,
                mapping=MAPPING in defined,
            )
        )
    return found


def _all_classes(folder: Path) -> dict[str, _Class]:
    known: dict[str, _Class] = {}
    for file in sorted(folder.glob("*.py")):
        if file.name != "interfaces.py":  # its definitions are refusals
            known.update(_classes(file))
    return known


def _classes(file: Path) -> dict[str, _Class]:
    tree = parsed(file)
    if tree is None:
        return {}
    return {
        node.name: _Class(
            module=file.stem,
            bases=tuple(_last(base) for base in node.bases),
            defined=frozenset(n.name for n in node.body if isinstance(n, ast.FunctionDef)),
            flag=_flag(node.body),
        )
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }


def _lineage(
    name: str, known: Mapping[str, _Class], seen: frozenset[str] = frozenset()
) -> Iterable[_Class]:
    """The class and its bases among the models, nearest first."""
    if name in seen or name not in known:
        return
    yield known[name]
    for base in known[name].bases:
        yield from _lineage(base, known, seen | {name})


def _flag(body: Iterable[ast.stmt]) -> bool | None:
    for node in body:
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = list(node.targets)
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        named = any(isinstance(one, ast.Name) and one.id == FLAG for one in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Constant):
            return bool(value.value)
    return None


def registered(file: Path) -> dict[tuple[str, str], list[str]]:
    """(module, class) → architectures, from the dictionaries of vLLM's registry."""
    found: dict[tuple[str, str], list[str]] = {}
    tree = parsed(file)
    if tree is None:
        return {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if not (isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)):
                continue
            parts = [one.value for one in value.elts if isinstance(one, ast.Constant)]
            if len(parts) == 2 and all(isinstance(part, str) for part in parts):
                found.setdefault((str(parts[0]), str(parts[1])), []).append(str(key.value))
    return found


def _last(base: ast.expr) -> str:
    if isinstance(base, ast.Subscript):
        return _last(base.value)
    return base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "")
