"""What an inspection says: a verdict and its reason for each tensor of an adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Fate(StrEnum):
    """What becomes of a tensor, or, with PARTLY, of an adapter."""

    APPLIED = "applied"
    PARTLY = "partly"
    IGNORED = "ignored"
    REFUSED = "refused"


class Why(StrEnum):
    """What is wrong with a tensor; the value is what the checks call it on a real server."""

    NONE = ""
    TEXT_CLASS = "peft-text-class"
    NEWEST = "peft-newest-names"
    PREFIX = "other-prefix"
    MISSPELT = "misspelt-path"
    UNEXPECTED = "misspelt-module"
    BEYOND = "layer-beyond"
    TARGETS = "outside-target-modules"
    TOWER_OFF = "tower-flag-off"
    NO_LAYER = "no-lora-layer"
    NO_HOOK = "no-hook"
    OVERWRITTEN = "overwritten"
    HALF = "missing-half"
    SHAPE = "shape"
    RANK = "rank"
    KEY = "unsupported-key"
    SAVED = "base-weight"
    SCALE = "scale"
    VALUES = "values"
    PACKED = "packed-otherwise"
    TOGETHER = "refused-with-the-rest"


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """`key`: as in the file, or the name of a file that is itself wrong. `layer`, `wrapper`: of
    vLLM's that apply it, or would. `nearest`: the right key. `broken`: wrong in itself, though it
    may be applied. `module`: its PEFT path in this model, "" where none is meant for sure."""

    key: str
    fate: Fate
    layer: str = ""
    wrapper: str = ""
    reason: str = ""
    nearest: str = ""
    why: Why = Why.NONE
    broken: bool = False
    module: str = ""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Of a module group's pairs: `effect` = √Σ‖scale·B·A‖² (Frobenius), `rank`: the mean effective
    rank, `share`: `effect` against ‖W‖ of the same modules. None where it was not computed."""

    name: str
    modules: int
    effect: float | None = None
    rank: float | None = None
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Of one adapter. `vllm`: its version; `notes`: what else a person should know."""

    adapter: str
    model: str
    vllm: str
    tensors: Sequence[Tensor]
    groups: Sequence[Effect] = ()
    notes: Sequence[str] = ()

    @property
    def fate(self) -> Fate:
        """Of the adapter as a whole."""
        seen = {one.fate for one in self.tensors}
        if Fate.REFUSED in seen or not seen:
            return Fate.REFUSED
        return Fate.PARTLY if len(seen) > 1 else seen.pop()

    @property
    def is_fine(self) -> bool:
        """Whether every tensor is applied, and none is broken in itself."""
        return self.fate is Fate.APPLIED and not any(one.broken for one in self.tensors)
