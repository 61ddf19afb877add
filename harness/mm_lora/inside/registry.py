"""Defines a patch, and selects the patches that a server gets."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from . import hooks, turns

Make = Callable[[Any], Any]
"""The original function → the one that takes its place."""

GROUPS = {"auto": "compat", "feature": "feature", "fixes": "fix"}
"""What stands for all patches of a kind that fit."""

KINDS = ("compat", "feature", "fix", "mutant")
PLATFORMS = ("any", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A change applied inside the vLLM process at run time.

    It names all that it touches as hook points, "module:function" or "module:Class.method":
    `wraps` those that it replaces, each with what makes the new function of the old one; `instead`
    the same, for a vLLM that has not all of `wraps`; `needs` what it uses beside. `adds` does to a
    module what is no replacement. `versions` is a PEP 440 specifier over vLLM's version ("" is
    every version). `reason` says why, `upstream` where it is known.

    A mutant says how it is judged. `kills`: patterns of the checks that fail of it, the quickest
    first. `families` that it can be seeded in, none for any. `needs_restart`: it acts while the
    model or its adapters are loaded, or leaves something behind, so that it has a server of its
    own. `survives`: lane ("checks", "answers", "relations") → why no check of it sees the mutant.
    """

    id: str
    kind: str
    reason: str
    wraps: Mapping[str, Make] = field(default_factory=dict)
    instead: Mapping[str, Make] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    adds: Callable[[ModuleType], None] | None = None
    versions: str = ""
    platform: str = "any"
    upstream: tuple[str, ...] = ()
    kills: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    needs_restart: bool = False
    survives: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        wrong = [point for point in self.points if not re.fullmatch(r"[\w.]+:[\w.]+", point)]
        if self.kind not in KINDS or self.platform not in PLATFORMS or wrong or not self.modules:
            raise ValueError(f"patch {self.id}: kind, platform or hook points are wrong")

    @property
    def points(self) -> tuple[str, ...]:
        """All hook points that it names, for whatever vLLM."""
        return (*self.needs, *self.wraps, *self.instead)

    @property
    def modules(self) -> tuple[str, ...]:
        """Where its hook points are: `apply` is called once with each, when it is imported."""
        return tuple(dict.fromkeys(point.partition(":")[0] for point in self.points))

    def lacks(self, has: Callable[[str], bool]) -> list[str]:
        """The hook points that are missing where `has` says of each whether it is there."""
        wraps = self.wraps
        if self.instead and not all(has(point) for point in wraps):
            wraps = self.instead
        return [point for point in (*self.needs, *wraps) if not has(point)]

    def apply(self, module: ModuleType) -> None:
        """Change the module, at those hook points that are in it. Raises HookGone for a lost one.

        A stand-in of another name is taken for each of the modules.
        """
        name = module.__name__

        def mine(points: Iterable[str]) -> list[str]:
            own = [point for point in points if point.partition(":")[0] == name]
            return own if name in self.modules else list(points)

        def path(point: str) -> str:
            return point.partition(":")[2]

        for point in mine(self.needs):
            hooks.require(module, path(point))
        wraps = self.wraps
        if self.instead and not all(hooks.has(module, path(point)) for point in mine(wraps)):
            wraps = self.instead
        for point in mine(wraps):
            hooks.replace(module, path(point), wraps[point])
        if self.adds is not None:
            self.adds(module)

    def in_turn(self, turn: Callable[[], bool]) -> "Patch":
        """The patch, whose replacements act only while `turn` says so."""
        if self.adds is not None:
            raise ValueError(f"patch {self.id} does more than replace functions")
        return replace(
            self,
            wraps={point: turns.in_turn(make, turn) for point, make in self.wraps.items()},
            instead={point: turns.in_turn(make, turn) for point, make in self.instead.items()},
        )

    def misfit(self, version: str, platform: str) -> str:
        """Why the patch does not fit this vLLM; empty if it does. Local parts (+cpu) do not count.

        A development build counts as the release that it leads to, an unnumbered one as any.
        """
        if self.platform not in ("any", platform):
            return f"is for {self.platform}, this vLLM runs on {platform}"
        try:
            release = Version(version).base_version
        except InvalidVersion:
            return ""
        if release not in SpecifierSet(self.versions):
            return f"is for vLLM {self.versions}, this is {version}"
        return ""


def mutant(
    name: str,
    wraps: Mapping[str, Make],
    reason: str,
    versions: str = ">=0.17",
    instead: Mapping[str, Make] | None = None,
    *,
    kills: tuple[str, ...] = (),
    families: tuple[str, ...] = (),
    needs_restart: bool = False,
    survives: Mapping[str, str] | None = None,
) -> Patch:
    """A seeded defect; by default for every version that serves tower and connector LoRA."""
    return Patch(
        id=f"mutant-{name}",
        kind="mutant",
        versions=versions,
        wraps=wraps,
        instead=instead or {},
        reason=reason,
        kills=kills,
        families=families,
        needs_restart=needs_restart,
        survives=survives or {},
    )


class UnknownPatch(Exception):
    """No patch has that id, or it does not fit; the message says which and why."""


def select(
    wanted: Sequence[str], patches: Iterable[Patch], version: str, platform: str
) -> list[Patch]:
    """The patches of a server spec, in the catalogue's order; "auto" is every compat one that fits,
    "feature" every feature, "fixes" every fix. What follows an @ is not part of an id.

    Raises UnknownPatch for an id that nobody has, or one named by id that does not fit.
    """
    known = {patch.id: patch for patch in patches}
    wanted = [word.partition("@")[0] for word in wanted]
    for identity in wanted:
        if identity in GROUPS:
            continue
        if identity not in known:
            raise UnknownPatch(f"no patch '{identity}'; known: {', '.join(sorted(known))}")
        misfit = known[identity].misfit(version, platform)
        if misfit:
            raise UnknownPatch(f"patch {identity} {misfit}")
    kinds = {GROUPS[identity] for identity in wanted if identity in GROUPS}
    return [
        patch
        for patch in known.values()
        if patch.id in wanted or (patch.kind in kinds and not patch.misfit(version, platform))
    ]
