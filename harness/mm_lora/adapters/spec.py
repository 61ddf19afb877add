"""Synthetic adapters as specs: modules, rank, alpha, dtype, seed and strength. No torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.llama4.modules import GROUPS, LANGUAGE_ATTENTION, TARGETS, target_pattern

DTYPES = ("float32", "bfloat16", "float16")

FORMS: Mapping[str, str] = {
    "": "as PEFT writes it",
    "padded": "rank doubled with zeros, alpha doubled: the same B·A and scale",
    "permuted": "the rank's order reversed in A and B alike: the same B·A",
    "sharded": "tensors in two safetensors files and an index, as transformers shards a model",
    "text-class": "keys as Llama4ForCausalLM, the text-only class, has them",
}


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """All that makes an adapter's bytes, but for the model.

    `groups` of `llama4.modules` or, overriding them, `targets`: shell patterns over PEFT module
    paths. `strength`: about the size of B·A·x for an x of size 1; 0 makes B zero. At 0.5 each
    standard adapter moves a miniature's logprobs by 0.8 to 3.2, each single projection by 0.2 to 3.
    `stream`: name of the random numbers, the spec's own name if empty; specs with the same stream
    and seed have the same numbers, so that one can be compared with the other.
    `peft`: further arguments of PEFT's LoraConfig, as pairs. `form`: how the finished tensors are
    rewritten, one of FORMS.
    """

    name: str
    groups: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    rank: int = 8
    alpha: float = 16.0
    dtype: str = "float32"
    seed: int = 0
    strength: float = 0.5
    stream: str = ""
    peft: tuple[tuple[str, Any], ...] = ()
    form: str = ""

    def __post_init__(self) -> None:
        unknown = [group for group in self.groups if group not in GROUPS]
        if unknown:
            raise UsageError(f"no module group '{unknown[0]}'", f"one of {', '.join(GROUPS)}")
        if not self.groups and not self.targets:
            raise UsageError(f"adapter '{self.name}' targets nothing", "its groups or targets")
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise UsageError(f"rank {self.rank!r} is no whole number above zero", "--rank")
        if not self.alpha > 0:
            raise UsageError(f"alpha {self.alpha!r} is not above zero", "--alpha")
        if self.form not in FORMS:
            raise UsageError(f"no adapter form '{self.form}'", f"one of {', '.join(FORMS)}")
        if self.dtype not in DTYPES:
            raise UsageError(f"no adapter dtype '{self.dtype}'", f"one of {', '.join(DTYPES)}")

    @property
    def scaling(self) -> float:
        """What B·A is multiplied with: alpha / rank (PEFT without rsLoRA)."""
        return self.alpha / self.rank

    @property
    def target_pattern(self) -> str:
        """PEFT's `target_modules`: one regular expression over whole module paths."""
        return target_pattern(self.groups, self.targets)

    def as_json(self) -> dict[str, Any]:
        """For the worker, cache keys and reports."""
        return {**asdict(self), "peft": dict(self.peft), "target_pattern": self.target_pattern}


STANDARD: Mapping[str, AdapterSpec] = {
    spec.name: spec
    for spec in (
        AdapterSpec(name="tower-attention", groups=("tower-attention",)),
        AdapterSpec(name="tower-mlp", groups=("tower-mlp",)),
        AdapterSpec(name="vision-adapter", groups=("vision-adapter",)),
        AdapterSpec(name="projector", groups=("projector",)),
        AdapterSpec(name="language-model", groups=("language-model",)),
        # The targets of vLLM pull request 35147: 331 modules on full Scout.
        AdapterSpec(
            name="pr35147",
            targets=(
                TARGETS["tower-attention"],
                TARGETS["vision-adapter"],
                TARGETS["projector"],
                LANGUAGE_ATTENTION,
            ),
        ),
        # Every group but patch embedding, which kills a CPU server that wraps `linear`.
        AdapterSpec(
            name="all", groups=tuple(group for group in GROUPS if group != "patch-embedding")
        ),
        AdapterSpec(name="patch-embedding", groups=("patch-embedding",)),
    )
}


def standard(name: str, **changes: Any) -> AdapterSpec:
    """The standard adapter `name` with some fields changed. Raises UsageError."""
    if name not in STANDARD:
        raise UsageError(f"no adapter '{name}'", f"one of {', '.join(STANDARD)}")
    return replace(STANDARD[name], **changes)
