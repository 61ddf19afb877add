"""Synthetic adapters as specs: modules, rank, alpha, dtype, seed and strength. No torch here."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.family import Family
from mm_lora.families.modules import LANGUAGE, either, from_glob

DTYPES = ("float32", "bfloat16", "float16")

FORMS: Mapping[str, str] = {
    "": "as PEFT writes it, with the names that vLLM's class was written for",
    "padded": "rank doubled with zeros, alpha doubled: the same B·A and scale",
    "permuted": "the rank's order reversed in A and B alike: the same B·A",
    "sharded": "tensors in two safetensors files and an index, as transformers shards a model",
    "own-names": "keys as the newest transformers names the modules",
    "text-class": "keys as the text-only class of the model has them",
    "older-names": "keys as PEFT wrote them on transformers 4.51 and older",
    "no-prefix": "keys without PEFT's `base_model.model.`",
    "adapter-name": "keys with the adapter's name left in, `lora_A.default.weight`",
    "inner-linear": "keys of a Linear inside the module, `q_proj.linear.lora_A`",
}


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """All that makes an adapter's bytes, but for the model.

    `pattern`: a regular expression over whole PEFT module paths, PEFT's `target_modules`.
    `groups`: the module groups that it covers whole; `roles`: where its modules lie (tower,
    connector, language), empty where nobody knows.
    `strength`: about the size of B·A·x for an x of size 1; 0 makes B zero. At 0.5 each
    standard adapter moves a miniature's logprobs by 0.8 to 3.2, each single projection by 0.2 to 3.
    `stream`: name of the random numbers, the spec's own name if empty; specs with the same stream
    and seed have the same numbers, so that one can be compared with the other.
    `peft`: further arguments of PEFT's LoraConfig, as pairs. `form`: how the finished tensors are
    rewritten, one of FORMS.
    """

    name: str
    pattern: str
    groups: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    rank: int = 8
    alpha: float = 16.0
    dtype: str = "float32"
    seed: int = 0
    strength: float = 0.5
    stream: str = ""
    peft: tuple[tuple[str, Any], ...] = ()
    form: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.rank, bool) or not isinstance(self.rank, int) or self.rank < 1:
            raise UsageError(f"rank {self.rank!r} is not a whole number above zero", "--rank")
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
    def reaches_language(self) -> bool:
        """Whether it changes the language model, and so an answer about text alone."""
        return not self.roles or LANGUAGE in self.roles

    def as_json(self) -> dict[str, Any]:
        """For the worker, cache keys and reports."""
        known = asdict(self)
        pattern = known.pop("pattern")
        return {**known, "peft": dict(self.peft), "target_pattern": pattern}


def of_groups(family: Family, name: str, groups: Iterable[str], **more: Any) -> AdapterSpec:
    """An adapter over whole module groups. Raises UsageError for an unknown one or for none."""
    names = tuple(groups)
    unknown = [group for group in names if group not in family.groups]
    if unknown:
        raise UsageError(f"no module group '{unknown[0]}'", f"one of {', '.join(family.groups)}")
    if not names:
        raise UsageError(f"adapter '{name}' targets nothing", "its groups or targets")
    mine = [family.groups[group] for group in names]
    roles = tuple(dict.fromkeys(group.role for group in mine))
    pattern = either([group.pattern for group in mine])
    return AdapterSpec(name=name, pattern=pattern, groups=names, roles=roles, **more)


def of_targets(name: str, targets: Iterable[str], **more: Any) -> AdapterSpec:
    """An adapter over globs of PEFT module paths (`*` crosses dots, `?`, `[abc]`)."""
    patterns = [from_glob(target) for target in targets]
    if not patterns:
        raise UsageError(f"adapter '{name}' targets nothing", "its groups or targets")
    return AdapterSpec(name=name, pattern=either(patterns), **more)
