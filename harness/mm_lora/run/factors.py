"""The factors by which synthetic adapters are built stronger, so that their effect is visible.

A real model's answer may move less than a miniature's. What was found to be needed is kept in the
cache for each checkpoint and adapter, so that it is looked for once a machine.
"""

from mm_lora.adapters.sets import for_server, named
from mm_lora.adapters.spec import AdapterSpec
from mm_lora.core.cache import Values, folder_key
from mm_lora.families.family import Family
from mm_lora.families.models import Model
from mm_lora.run.options import RunOptions
from mm_lora.run.profiles import Profile
from mm_lora.run.tolerances import is_measured
from mm_lora.truth.build import Builder


def stream_of(family: Family, name: str) -> str:
    """Adapters of one stream have the same numbers and are compared: they change together."""
    return named(family, name).stream or name


class Factors:
    """The factors of one run: from the cache, or raised in it."""

    def __init__(self, options: RunOptions, profile: Profile) -> None:
        self._options = options
        self._profile = profile
        self._cache = Values("strengths", float)
        self._of_stream: dict[tuple[str, str], float] = {}

    def spec(self, builder: Builder, model: Model, name: str) -> AdapterSpec:
        """The adapter of that name as it is built for a server of this run."""
        factor = self.factor(builder, model, stream_of(model.family, name))
        return self._as_named(model, name, self._options.settings.strength * factor)

    def factor(self, builder: Builder, model: Model, stream: str) -> float:
        """How many times stronger a stream is, beside what the user asked for."""
        key = (model.name, stream)
        if key not in self._of_stream:
            self._of_stream[key] = 1.0
            if is_measured(self._profile) and not self._options.base_url:
                found = self._cache.read(self._key(builder, model, stream))
                self._of_stream[key] = found or 1.0
        return self._of_stream[key]

    def change(self, model: Model, stream: str, factor: float) -> None:
        """Build the stream so many times stronger from now on, in this run."""
        self._of_stream[model.name, stream] = factor

    def keep(self, builder: Builder, model: Model, stream: str) -> None:
        """Remember the factor for later runs; not one that a seeded defect may have asked for."""
        if self._options.settings.seeds_a_defect:
            return
        factor = self._of_stream[model.name, stream]
        key = self._key(builder, model, stream)
        if factor > (self._cache.read(key) or 0.0):
            self._cache.write(key, factor)

    def _as_named(self, model: Model, name: str, factor: float) -> AdapterSpec:
        return for_server(named(model.family, name), self._profile.dtype, factor)

    def _key(self, builder: Builder, model: Model, stream: str) -> dict[str, str]:
        """All that both are made of, versions included: built folders have it in their names."""
        spec = self._as_named(model, stream, self._options.settings.strength)
        adapter = builder.adapter_folder(model, spec, miniature=not model.is_real)
        if model.repository:
            served = f"{model.repository} {model.revision}"
        elif model.weights is not None:
            served = folder_key(model.weights)
        else:
            served = builder.checkpoint_folder(model, self._options.seed).name
        return {"served": served, "adapter": adapter.name}
