"""What `mm-lora inspect --json` prints, as typed values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mm_lora.checks.inspection.findings import Effect, Fate, Inspection, Tensor
from mm_lora.core.typed import Number, plain


@dataclass(frozen=True, kw_only=True)
class TensorVerdict:
    """What becomes of a tensor. `key`: as in the file. `layer`, `wrapper`: of vLLM's, that apply it
    or would. `nearest`: the right key where this one is wrong."""

    key: str
    verdict: Literal["applied", "ignored", "refused"]
    layer: str
    wrapper: str
    reason: str
    nearest: str


@dataclass(frozen=True, kw_only=True)
class GroupEffect:
    """A module group's pairs: `effect` = √Σ‖scale·B·A‖² (Frobenius), null where no tensor was
    read."""

    name: str
    modules: int
    effect: Number | None


@dataclass(frozen=True, kw_only=True)
class AdapterVerdict:
    """Of one adapter."""

    schema: Literal[1] = 1
    adapter: str
    model: str
    vllm: str
    verdict: Fate
    tensors: tuple[TensorVerdict, ...]
    groups: tuple[GroupEffect, ...]


@dataclass(frozen=True, kw_only=True)
class AdapterVerdicts:
    """Of each adapter, where a path holds several."""

    schema: Literal[1] = 1
    adapters: tuple[AdapterVerdict, ...]


def document(inspections: Sequence[Inspection]) -> dict[str, Any]:
    """For JSON: the verdict of one adapter, or those of several."""
    told = tuple(map(_adapter, inspections))
    made: dict[str, Any] = plain(told[0] if len(told) == 1 else AdapterVerdicts(adapters=told))
    return made


def _adapter(one: Inspection) -> AdapterVerdict:
    return AdapterVerdict(
        adapter=one.adapter,
        model=one.model,
        vllm=one.vllm,
        verdict=one.fate,
        tensors=tuple(map(_tensor, one.tensors)),
        groups=tuple(map(_group, one.groups)),
    )


_VERDICTS: Mapping[Fate, Literal["applied", "ignored", "refused"]] = {
    Fate.APPLIED: "applied",
    Fate.IGNORED: "ignored",
    Fate.REFUSED: "refused",
}


def _tensor(one: Tensor) -> TensorVerdict:
    return TensorVerdict(
        key=one.key,
        verdict=_VERDICTS[one.fate],
        layer=one.layer,
        wrapper=one.wrapper,
        reason=one.reason,
        nearest=one.nearest,
    )


def _group(one: Effect) -> GroupEffect:
    return GroupEffect(name=one.name, modules=one.modules, effect=one.effect)
