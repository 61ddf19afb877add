"""The vLLM that a run serves: where it is, what it lacks, and how server specs adapt to it."""

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_lora.core.errors import InstallError, NoFeature
from mm_lora.core.interpreters import InterpreterFacts, facts
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.families.family import Family
from mm_lora.inside.target_modules import PATCH as TARGET_MODULES
from mm_lora.inside.target_modules import VARIABLE
from mm_lora.serving import vllm_patch
from mm_lora.serving.server.source import VllmSource
from mm_lora.serving.server.spec import FlagValue, ServerSpec

TARGET_FLAG = "lora-target-modules"
"""Where a vLLM has no such flag, a compat patch makes the same choice."""


@dataclass(frozen=True, kw_only=True)
class ServedVllm:
    """One interpreter's vLLM. `search`: folders in front of PYTHONPATH; `diff`: what is applied to
    a copy of it; `lacks`: family → the evidence that its tower/connector LoRA is missing;
    `features`: family → the patch that brings it."""

    python: Path
    facts: InterpreterFacts
    source: VllmSource
    lacks: Mapping[str, str]
    features: Mapping[str, str]
    search: tuple[Path, ...] = ()
    diff: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The report's `vllm`: `patch` and `diff` are there where something is brought."""
        known: dict[str, Any] = {
            "version": self.facts.vllm,
            "distribution": self.facts.distribution,
            "python": self.facts.python,
        }
        if self.lacks:
            known["lacks"] = "; ".join(self.lacks.values())
        if self.features:
            known["feature_patch"] = ", ".join(self.features.values())
        return known | ({"diff": dict(self.diff)} if self.diff else {})

    def news(self) -> list[str]:
        """What a person must know before the run: one line each."""
        lines = []
        for family, patch in self.features.items():
            lacks = self.lacks.get(family)
            why = f"lacks it: {lacks}" if lacks else "has its own, replaced as asked"
            lines.append(f"feature patch {patch} for vLLM {self.facts.vllm}, which {why}")
        if self.diff:
            lines.append(
                f"serving a copy of vLLM {self.facts.vllm} with the diff "
                f"{self.diff['sha256'][:16]}: {', '.join(self.diff['files']) or 'no file changed'}"
            )
            if self.diff["left_out"]:
                lines.append(f"of the diff left out: {', '.join(self.diff['left_out'])}")
        return lines

    def fit(self, spec: ServerSpec, profile: Mapping[str, FlagValue], family: Family) -> ServerSpec:
        """The spec for this vLLM: the feature patch in, flags that it does not have out.

        `profile` is what family and profile alone give each flag: those may go. Raises
        NotApplicable for a flag that a check itself wants, and for a family that this vLLM lacks.
        """
        if family.name in self.lacks and family.name not in self.features:
            raise NotApplicable(SkipReason.NO_FEATURE, self.lacks[family.name])
        missing = self.source.lacks_flags(name for name, _ in spec.flags)
        env = dict(spec.env)
        for name in missing:
            value = spec.flag(name)
            if name == TARGET_FLAG and not TARGET_MODULES.misfit(self.facts.vllm or "", "any"):
                env[VARIABLE] = " ".join(value) if isinstance(value, tuple) else str(value)
            elif value != profile.get(name, ...):
                raise NotApplicable(SkipReason.NO_FLAG, f"--{name}, vLLM {self.facts.vllm}")
        return replace(
            spec,
            flags=tuple((name, value) for name, value in spec.flags if name not in missing),
            env=tuple(sorted(env.items())),
            patches=(*spec.patches, *self.feature_of(family)),
        )

    def feature_of(self, family: Family) -> tuple[str, ...]:
        """The ids of the patches that bring the feature to this vLLM for a family; none mostly."""
        found = self.features.get(family.name)
        return (found,) if found else ()


def look_at(
    python: Path,
    families: Iterable[Family],
    say: Callable[[str], None],
    *,
    diff_file: Path | None = None,
    choice: str = "auto",
) -> ServedVllm:
    """The vLLM of an interpreter with its diff and feature patches chosen.

    `families`: those to be served. `diff_file`: applied to a copy of it. `choice`: auto, none or
    feature. Raises InstallError without a usable vLLM, NoFeature where every family lacks tower and
    connector LoRA and no patch is to bring it, UsageError for a diff that does not apply.
    """
    found = facts(python)
    found.require_vllm()
    if found.folder is None:
        raise InstallError(f"the files of vLLM in {python} cannot be found")
    folder = Path(found.folder)
    search: tuple[Path, ...] = ()
    diff: dict[str, Any] = {}
    if diff_file is not None:
        patched = vllm_patch.patched_copy(folder, diff_file, say)
        folder, search, diff = patched.folder, (patched.search,), patched.as_json()
    source = VllmSource(folder)
    wanted = {family.name: family for family in families}
    lacks = {
        name: said
        for name, family in wanted.items()
        if (said := source.lacks_tower_lora(family.vllm))
    }
    features = {
        name: family.feature_patch
        for name, family in wanted.items()
        if family.feature_patch and (choice == "feature" or (name in lacks and choice == "auto"))
    }
    missing = [name for name in lacks if name not in features]
    if missing and len(missing) == len(wanted):
        titles = ", ".join(wanted[name].title for name in missing)
        hint = "`--set patch=auto`: the feature patch brings it"
        raise NoFeature(
            f"vLLM {found.vllm} has no tower/connector LoRA for {titles}: {lacks[missing[0]]}",
            f"a later vLLM, or {hint}" if wanted[missing[0]].feature_patch else "a later vLLM",
        )
    return ServedVllm(
        python=python,
        facts=found,
        source=source,
        lacks=lacks,
        features=features,
        search=search,
        diff=diff,
    )


def reference_choice(named: Path | None, server: Path, say: Callable[[str], None]) -> Path:
    """Whose transformers builds the checkpoint and computes the reference.

    `--reference-python`, else the tool's own; the server's where that has transformers of another
    major version, since one cannot always read what the other writes. InstallError without peft.
    """
    if named is not None:
        return named
    own, theirs = Path(sys.executable), facts(server)
    mine = facts(own).transformers
    if mine and (theirs.transformers is None or _major(theirs.transformers) == _major(mine)):
        return own
    if theirs.peft is None:
        raise InstallError(
            f"{server} has transformers {theirs.transformers}, the tool has {mine}: checkpoint and "
            "reference must come from the server's interpreter, which has no peft",
            f"install peft there, or name another interpreter with transformers "
            f"{_major(theirs.transformers or '')}.x and peft: --reference-python",
        )
    say(f"checkpoint and reference by the server's interpreter: transformers {theirs.transformers}")
    return server


def _major(version: str) -> str:
    return version.partition(".")[0]
