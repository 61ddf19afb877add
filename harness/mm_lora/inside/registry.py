"""What a patch is, and which patches a server gets."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

GROUPS = {"auto": "compat", "feature": "feature", "fixes": "fix"}
"""What stands for all patches of a kind that fit."""

KINDS = ("compat", "feature", "fix", "mutant")
PLATFORMS = ("any", "cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A change applied inside the vLLM process at run time.

    `modules` are the hook points: `apply` is called once with each of them, when it is imported.
    `versions` is a PEP 440 specifier over vLLM's version ("" is every version). `reason` says
    why, `upstream` where it is known.
    """

    id: str
    kind: str
    modules: tuple[str, ...]
    apply: Callable[[ModuleType], None]
    reason: str
    versions: str = ""
    platform: str = "any"
    upstream: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.platform not in PLATFORMS or not self.modules:
            raise ValueError(f"patch {self.id}: kind, platform or modules are wrong")

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
    module: str | tuple[str, ...],
    apply: Callable[[ModuleType], None],
    reason: str,
    versions: str = ">=0.17",
) -> Patch:
    """A seeded defect; by default for every version that serves tower and connector LoRA."""
    return Patch(
        id=f"mutant-{name}",
        kind="mutant",
        versions=versions,
        modules=(module,) if isinstance(module, str) else module,
        apply=apply,
        reason=reason,
    )


class UnknownPatch(Exception):
    """No patch has that id, or it does not fit; the message says which and why."""


def select(
    wanted: Sequence[str], patches: Iterable[Patch], version: str, platform: str
) -> list[Patch]:
    """The patches of a server spec, in the catalogue's order; "auto" is every compat one that fits,
    "feature" every feature, "fixes" every fix.

    Raises UnknownPatch for an id that nobody has, or one named by id that does not fit.
    """
    known = {patch.id: patch for patch in patches}
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
