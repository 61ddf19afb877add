"""The kind of a user's adapter, apart from its numbers and its model's size: which modules, spelled
how, with which ranks, scales and dtype. A miniature's adapter of that kind stands in for it."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mm_lora.adapters.keys import keys_of
from mm_lora.adapters.own import OwnAdapter
from mm_lora.adapters.scale import alpha_of, rank_of, scale_of
from mm_lora.adapters.spec import FORMS, AdapterSpec
from mm_lora.adapters.spellings import SPELLINGS
from mm_lora.adapters.tensors import NAMES
from mm_lora.core.errors import UsageError
from mm_lora.families.family import Family
from mm_lora.families.modules import either

Size = tuple[int, int]

_ITS_MODEL = "the model that it was trained on against --model; `mm-lora inspect` says more"


@dataclass(frozen=True, kw_only=True)
class Modules:
    """Of the published model and of its miniature: PEFT path → (inputs, outputs) of the module,
    (0, 0) for a convolution. `named`: PEFT path → the module's path in transformers, where they
    differ."""

    published: Mapping[str, Size]
    miniature: Mapping[str, Size]
    named: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """`spec` builds an adapter of that kind for the miniature. `kept`: the modules that it has, by
    PEFT path; `deeper`: those of layers that the miniature does not have; `unknown`: keys that no
    spelling explains."""

    spec: AdapterSpec
    kept: tuple[str, ...]
    deeper: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def plain(self) -> AdapterSpec:
        """The same numbers with the keys that PEFT writes."""
        return replace(self.spec, form="", stream=self.spec.name)

    @property
    def spelling(self) -> str:
        """How its keys are spelled."""
        return FORMS[self.spec.form]

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks of its modules, each once."""
        patterns = dict(self.spec.peft).get("rank_pattern", {})
        return tuple(sorted({self.spec.rank, *patterns.values()}))


def kind_of(adapter: OwnAdapter, family: Family, model: str, modules: Modules) -> Kind:
    """The kind of an adapter of the published model.

    Raises UsageError where its keys name no module of the model, where a shape or a rank is not
    the model's or the configuration's, and where the miniature has none of its layers.
    """
    form, paths = _form(adapter, family, model, modules)
    for own, path in paths.items():
        _require_shape(adapter, own, model, path, modules.published[path])
    kept = {own: path for own, path in paths.items() if path in modules.miniature}
    if not kept:
        raise UsageError(
            f"adapter '{adapter.name}' is for layers that the miniature of {model} does not have: "
            f"{next(iter(paths.values()))} and {len(paths) - 1} more modules",
            "an adapter that reaches the first layers too, or --profile gpu with real weights",
        )
    deeper = tuple(path for path in paths.values() if path not in modules.miniature)
    unknown = tuple(own for own in adapter.modules if own not in paths)
    spec = _spec(adapter, family, form, kept, modules)
    return Kind(spec=spec, kept=tuple(kept.values()), deeper=deeper, unknown=unknown)


def _form(
    adapter: OwnAdapter, family: Family, model: str, modules: Modules
) -> tuple[str, dict[str, str]]:
    """The form that explains most of the adapter's modules, and for these: name → PEFT path."""
    by_keys = {keys: own for own, keys in adapter.keys.items()}
    best: tuple[str, dict[str, str]] = ("", {})
    for form in ("", "own-names", *SPELLINGS):
        found = {
            by_keys[keys]: path for path, keys in _spelled(form, family, modules) if keys in by_keys
        }
        if len(found) > len(best[1]):
            best = form, found
    if not best[1]:
        raise UsageError(
            f"adapter '{adapter.name}' was made for another model: {model} has no module "
            f"{next(iter(adapter.modules))}, in any spelling",
            _ITS_MODEL,
        )
    return best


def _spelled(form: str, family: Family, modules: Modules) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each module of the published model, with the keys of its pair in that form."""
    spelling = SPELLINGS.get(form)
    for path in modules.published:
        name = modules.named.get(path, path) if form == "own-names" else path
        a, b = keys_of(name)
        if spelling is not None:
            a, b = spelling.respelled(family, a), spelling.respelled(family, b)
        yield path, (a, b)


def _require_shape(adapter: OwnAdapter, own: str, model: str, path: str, size: Size) -> None:
    a, b = adapter.modules[own]
    if size != (0, 0) and (a[1], b[0]) != size:
        raise UsageError(
            f"adapter '{adapter.name}' was made for another model: {model} has {path} of {size[0]} "
            f"inputs and {size[1]} outputs, the adapter is for {a[1]} and {b[0]}",
            _ITS_MODEL,
        )
    if a[0] != rank_of(adapter.config, own):
        raise UsageError(
            f"adapter '{adapter.name}' has rank {a[0]} at {own}, and {rank_of(adapter.config, own)}"
            " by its adapter_config.json",
            "r and rank_pattern there",
        )


def _spec(
    adapter: OwnAdapter, family: Family, form: str, kept: Mapping[str, str], modules: Modules
) -> AdapterSpec:
    config, named = adapter.config, modules.named
    told: dict[str, dict[str, float]] = {"rank_pattern": {}, "alpha_pattern": {}}
    for own, path in kept.items():
        rank, scale = rank_of(config, own), scale_of(config, own)
        name = named.get(path, path)
        if rank_of(config, name) != rank or not math.isclose(scale_of(config, name), scale):
            told["rank_pattern"][re.escape(name)] = rank
            told["alpha_pattern"][re.escape(name)] = alpha_of(config, rank, scale)
    peft = {key: {**told[key], **(config.get(key) or {})} for key in told}
    options = {key: value for key, value in peft.items() if value}
    if config.get("use_rslora"):
        options["use_rslora"] = True  # type: ignore[assignment]
    groups = [family.group_of(path) for path in kept.values()]
    known = tuple(dict.fromkeys(group.role for group in groups if group is not None))
    return AdapterSpec(
        name=adapter.name,
        pattern=either([re.escape(named.get(path, path)) for path in kept.values()]),
        roles=known if None not in groups else (),
        rank=config["r"],
        alpha=float(config["lora_alpha"]),
        dtype=_dtype(adapter),
        peft=tuple(options.items()),
        form=form,
    )


def _dtype(adapter: OwnAdapter) -> str:
    if adapter.dtype not in NAMES:
        raise UsageError(
            f"adapter '{adapter.name}' has tensors of {adapter.dtype}", f"one of {', '.join(NAMES)}"
        )
    return NAMES[adapter.dtype]
