"""Inspects one adapter for one server: configuration, keys, shapes, numbers, known defects."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mm_lora.adapters.as_found import AsFound
from mm_lora.adapters.files import CONFIG, WEIGHTS
from mm_lora.adapters.scale import rank_of, scale_of
from mm_lora.checks.defects import Defect
from mm_lora.checks.inspection import values
from mm_lora.checks.inspection.findings import Effect, Fate, Inspection, Tensor, Why
from mm_lora.checks.inspection.keys import meant
from mm_lora.checks.inspection.loading import Loading
from mm_lora.checks.inspection.server import Server, Size
from mm_lora.checks.inspection.spellings import Spellings

_OTHER = "other"

Others = Callable[[], Iterable[tuple[str, Mapping[str, Size]]]]
"""(name, module sizes) of the other published models of the family; asked for at need."""
Norms = Callable[[Sequence[str]], float | None]
"""‖W‖ (Frobenius) of modules together, by their PEFT paths; None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Inspector:
    """`numbers`: read the tensors too, not their heads alone."""

    server: Server
    defects: Sequence[Defect]
    platform: str
    others: Others
    norms: Norms | None = None
    numbers: bool = True

    def inspect(self, name: str, adapter: AsFound) -> Inspection:
        """All that can be told of one adapter."""
        loading = Loading(self.server, adapter, Spellings(self.server))
        tensors = self._loaded(loading)
        if not adapter.config_error:
            tensors = [self._scaled(one, adapter) for one in tensors]
        tensors = [self._of_another_size(one, loading.sizes) for one in tensors]
        groups, tensors = self._groups(adapter, tensors)
        tensors = [self._known(one) for one in self._together(adapter, tensors)]
        return Inspection(
            adapter=name,
            model=self.server.model,
            vllm=self.server.version,
            tensors=tensors,
            groups=groups,
        )

    def _loaded(self, loading: Loading) -> list[Tensor]:
        """By names and shapes; where the configuration cannot be used, `_together` says so."""
        whole = [Tensor(key=key, fate=Fate.APPLIED) for key in loading.adapter.heads]
        if loading.adapter.config_error:
            return whole
        try:
            return loading.run()
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return whole

    def _together(self, adapter: AsFound, tensors: list[Tensor]) -> list[Tensor]:
        """vLLM takes an adapter as a whole or not at all."""
        found: list[Tensor] = []
        if adapter.config_error:
            found.append(_file(CONFIG, adapter.config_error, broken=True))
        else:
            told = self.server.rules.refusals(adapter.config, self.server.flags.largest)
            found += [_file(CONFIG, why) for why in told]
        if adapter.sharded:
            said = f"tensors in several files with an index, where vLLM looks for {WEIGHTS} alone"
            found.append(_file(WEIGHTS, said))
        if adapter.weights_error:
            found.append(_file(WEIGHTS, adapter.weights_error, broken=True))
        if self.server.does_not_start:
            found.append(_file(CONFIG, f"the server does not start: {self.server.does_not_start}"))
        refused = [one for one in tensors if one.fate is Fate.REFUSED]
        if not found and not refused:
            return tensors
        first = (found or refused)[0]
        because = f"vLLM refuses the whole adapter: {first.key}: {first.reason}"
        rest = [
            one
            if one.fate is Fate.REFUSED
            else replace(
                one,
                fate=Fate.REFUSED,
                reason=_both(one.reason, because),
                why=Why.TOGETHER if one.why is Why.NONE else one.why,
            )
            for one in tensors
        ]
        return [*found, *rest]

    def _scaled(self, one: Tensor, adapter: AsFound) -> Tensor:
        """Whether vLLM multiplies with what the adapter was trained with."""
        module, side, _ = meant(one.key)
        if one.fate is not Fate.APPLIED or not side:
            return one
        shape = adapter.heads[one.key].shape
        rank = shape[0 if side == "lora_A" else -1] if len(shape) == 2 else 0
        try:
            told = rank_of(adapter.config, module)
            trained, served = (
                scale_of(adapter.config, module),
                self.server.rules.scaling(adapter.config, module),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return one
        if rank and rank != told:
            said = f"rank {rank}, where {CONFIG} says {told}: vLLM scales by {served:g}"
            return _broken(one, said, Why.RANK)
        if not math.isclose(trained, served):
            said = f"trained with a scale of {trained:g}, which this vLLM takes as {served:g}"
            return _broken(one, said, Why.SCALE)
        return one

    def _of_another_size(self, one: Tensor, sizes: Mapping[str, Size]) -> Tensor:
        """Which published model of the family has a module of this size."""
        size = sizes.get(meant(one.key)[0])
        if one.why is not Why.SHAPE or not one.module or size is None:
            return one
        names = [name for name, theirs in self.others() if theirs.get(one.module) == size]
        said = f"; {' and '.join(names)} has that size" if names else ""
        return replace(one, reason=one.reason + said)

    def _groups(self, adapter: AsFound, tensors: list[Tensor]) -> tuple[list[Effect], list[Tensor]]:
        """Effects by module group, and the tensors with what is wrong with their numbers."""
        names = {meant(one.key)[0]: self._group(one) for one in tensors if meant(one.key)[1]}
        paths = {meant(one.key)[0]: one.module for one in tensors if one.module}
        found: dict[str, values.Pair] = {}
        if self.numbers and adapter.heads:
            found = dict(values.pairs(adapter, self._scales(adapter, names)))
        wrong = {key: said for pair in found.values() for key, said in pair.wrong.items()}
        tensors = [
            _broken(one, wrong[one.key], Why.VALUES) if one.key in wrong else one for one in tensors
        ]
        groups = []
        for group in (*self.server.family.groups, _OTHER):
            mine = [module for module, name in names.items() if name == group]
            if mine:
                some = [found[module] for module in mine if module in found]
                effects = [pair.effect for pair in some if pair.effect is not None]
                size = math.hypot(*effects) if effects else None
                norm = self.norms([paths.get(one, "") for one in mine]) if self.norms else None
                groups.append(
                    Effect(
                        name=group,
                        modules=len(mine),
                        effect=size,
                        rank=values.mean([pair.rank for pair in some]),
                        share=size / norm if size is not None and norm else None,
                    )
                )
        return groups, tensors

    def _scales(self, adapter: AsFound, modules: Iterable[str]) -> dict[str, float]:
        try:
            return {one: self.server.rules.scaling(adapter.config, one) for one in modules}
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            return {}

    def _group(self, one: Tensor) -> str:
        module = one.module or meant(one.key)[0]
        group = self.server.family.group_of(module)
        return group.name if group else _OTHER

    def _known(self, one: Tensor) -> Tensor:
        """With the known defect of this vLLM that makes it so."""
        loud = one.fate is Fate.REFUSED and one.why in (Why.SHAPE, Why.RANK)
        if one.why is Why.NONE or loud:  # the entries are of what is taken in silence
            return one
        ids = [
            pattern.format(model=self.server.model, group=self._group(one), why=one.why)
            for pattern in _CHECKS.get(one.why, ())
        ]
        for defect in self.defects:
            seen = any(defect.concerns(each, self.server.version, self.platform) for each in ids)
            if seen and defect.is_of(self.server.family):
                return replace(one, reason=f"{one.reason} (known defect {defect.id})")
        return one


_REFUSAL = "refusal/{model}/{why}"
_CHECKS: Mapping[Why, tuple[str, ...]] = {
    Why.TEXT_CLASS: ("numerics/{model}/{why}/applied",),
    Why.NEWEST: ("numerics/{model}/{why}/applied",),
    Why.PREFIX: (_REFUSAL,),
    Why.MISSPELT: (_REFUSAL,),
    Why.BEYOND: (_REFUSAL,),
    Why.TARGETS: (_REFUSAL,),
    Why.TOWER_OFF: (f"{_REFUSAL}/{{group}}",),
    Why.NO_LAYER: ("coverage/{model}/{group}/tensors", f"{_REFUSAL}/{{group}}"),
    Why.UNEXPECTED: ("coverage/{model}/{group}/tensors",),
    Why.SHAPE: ("refusal/{model}/shape-smaller",),
    Why.RANK: ("refusal/{model}/rank-in-config",),
    Why.SCALE: ("numerics/{model}/peft-rank-pattern/applied",),
}
"""What is wrong → the checks that see the same on a server, by which known defects are known."""


def _file(name: str, said: str, *, broken: bool = False) -> Tensor:
    return Tensor(key=name, fate=Fate.REFUSED, reason=said, broken=broken)


def _broken(one: Tensor, said: str, why: Why) -> Tensor:
    return replace(
        one,
        reason=_both(one.reason, said),
        broken=True,
        why=why if one.why is Why.NONE else one.why,
    )


def _both(first: str, second: str) -> str:
    return f"{first}; {second}" if first else second
