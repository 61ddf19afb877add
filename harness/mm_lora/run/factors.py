"""How much stronger than named the synthetic adapters are built, so that their effect is seen.

A real model's answer may move less than a miniature's. What was found to be needed is kept in the
cache for each checkpoint and adapter, so that it is looked for once a machine.
"""

from mm_lora.adapters.sets import named, settled
from mm_lora.adapters.spec import AdapterSpec
from mm_lora.core.cache import Values, folder_key
from mm_lora.families.models import Model
from mm_lora.run.options import RunOptions, strength
from mm_lora.run.profiles import Profile
from mm_lora.run.tolerances import is_measured
from mm_lora.truth.build import Builder


def family_of(name: str) -> str:
    """Adapters of one stream have the same numbers and are compared: they change together."""
    return named(name).stream or name


class Strengths:
    """The factors of one run: from the cache, or raised in it."""

    def __init__(self, options: RunOptions, profile: Profile) -> None:
        self._options = options
        self._profile = profile
        self._cache = Values("strengths", float)
        self._factors: dict[tuple[str, str], float] = {}

    def spec(self, builder: Builder, model: Model, name: str) -> AdapterSpec:
        """The adapter of that name as it is built for a server of this run."""
        factor = self.factor(builder, model, family_of(name))
        return self._as_named(name, strength(self._options.settings) * factor)

    def factor(self, builder: Builder, model: Model, family: str) -> float:
        """How many times stronger a family is, beside what the user asked for."""
        key = (model.name, family)
        if key not in self._factors:
            self._factors[key] = 1.0
            if is_measured(self._profile) and not self._options.base_url:
                found = self._cache.read(self._key(builder, model, family))
                self._factors[key] = found or 1.0
        return self._factors[key]

    def change(self, model: Model, family: str, factor: float) -> None:
        """Build the family so many times stronger from now on, in this run."""
        self._factors[model.name, family] = factor

    def keep(self, builder: Builder, model: Model, family: str) -> None:
        """Remember the factor for later runs; not one that a seeded defect may have asked for."""
        if {"break", "mutant", "vllm-patch"} & self._options.settings.keys():
            return
        factor = self._factors[model.name, family]
        key = self._key(builder, model, family)
        if factor > (self._cache.read(key) or 0.0):
            self._cache.write(key, factor)

    def _as_named(self, name: str, factor: float) -> AdapterSpec:
        return settled(named(name), self._profile.dtype, factor)

    def _key(self, builder: Builder, model: Model, family: str) -> dict[str, str]:
        """All that both are made of, versions included: built folders have it in their names."""
        spec = self._as_named(family, strength(self._options.settings))
        adapter = builder.adapter_folder(model, spec, miniature=not model.is_real)
        if model.repository:
            served = f"{model.repository} {model.revision}"
        elif model.weights is not None:
            served = folder_key(model.weights)
        else:
            served = builder.checkpoint_folder(model, self._options.seed).name
        return {"served": served, "adapter": adapter.name}
