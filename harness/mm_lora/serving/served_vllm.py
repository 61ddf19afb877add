"""The vLLM that a run serves: whose it is, what it lacks, and how a server spec is made to fit."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mm_lora.core.errors import InstallError, NoFeature
from mm_lora.core.interpreters import InterpreterFacts, facts
from mm_lora.core.skips import NotApplicable, SkipReason
from mm_lora.inside.families.llama4.tower_lora import PATCH as FEATURE
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
    a copy of it; `lacks`: the evidence that Llama 4's tower/connector LoRA is missing."""

    python: Path
    facts: InterpreterFacts
    source: VllmSource
    lacks: str
    feature: tuple[str, ...]
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
            known["lacks"] = self.lacks
        if self.feature:
            known["feature_patch"] = self.feature[0]
        return known | ({"diff": dict(self.diff)} if self.diff else {})

    def news(self) -> list[str]:
        """What a person must know before the run: one line each."""
        lines = []
        if self.feature:
            why = f"lacks it: {self.lacks}" if self.lacks else "has its own, replaced as asked"
            lines.append(f"feature patch {self.feature[0]} for vLLM {self.facts.vllm}, which {why}")
        if self.diff:
            lines.append(
                f"serving a copy of vLLM {self.facts.vllm} with the diff "
                f"{self.diff['sha256'][:16]}: {', '.join(self.diff['files']) or 'no file changed'}"
            )
            if self.diff["left_out"]:
                lines.append(f"of the diff left out: {', '.join(self.diff['left_out'])}")
        return lines

    def fit(self, spec: ServerSpec, profile: Mapping[str, FlagValue]) -> ServerSpec:
        """The spec for this vLLM: the feature patch in, flags that it does not have out.

        `profile` is what the profile alone gives each flag: those may go. Raises NotApplicable
        for a flag that a check itself wants.
        """
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
            patches=(*spec.patches, *self.feature),
        )


def look_at(
    python: Path, say: Callable[[str], None], *, diff_file: Path | None = None, choice: str = "auto"
) -> ServedVllm:
    """The vLLM of an interpreter with the diff and the feature patch settled.

    `diff_file`: applied to a copy of it. `choice`: auto, none or feature.

    Raises InstallError without a usable vLLM, NoFeature where Llama 4's tower/connector LoRA is
    missing and no patch is to bring it, UsageError for a diff that does not apply.
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
    lacks = source.lacks_tower_lora()
    if lacks and choice == "none":
        raise NoFeature(
            f"vLLM {found.vllm} has no tower/connector LoRA for Llama 4: {lacks}",
            "a vLLM of 0.17 or later, or `--set patch=auto`: the feature patch brings it",
        )
    wanted = choice == "feature" or (bool(lacks) and choice == "auto")
    return ServedVllm(
        python=python,
        facts=found,
        source=source,
        lacks=lacks,
        feature=(FEATURE.id,) if wanted else (),
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
