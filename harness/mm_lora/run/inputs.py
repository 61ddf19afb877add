"""Reads a run's inputs once, first: profile, models, the user's adapters, defects."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from mm_lora.adapters.broken import require_adapter
from mm_lora.adapters.own import OwnAdapter, read_all
from mm_lora.checks import defects
from mm_lora.checks.defects import Defect
from mm_lora.core.errors import UsageError
from mm_lora.core.selection import names_models
from mm_lora.families import registry
from mm_lora.families.family import Family
from mm_lora.families.models import Model, resolve
from mm_lora.run import profiles
from mm_lora.run.options import RunOptions, require_place
from mm_lora.run.plan import max_lora_rank
from mm_lora.run.profiles import Profile


@dataclass(frozen=True)
class Inputs:
    """The options with all that they name. `models`: by the name that checks have for each."""

    options: RunOptions
    profile: Profile
    models: Mapping[str, Model]
    own: Mapping[str, OwnAdapter]
    defects: tuple[Defect, ...] = ()

    @classmethod
    def read(cls, options: RunOptions) -> Self:
        """Raises UsageError for whatever cannot be used, before anything is started."""
        profile = profiles.load(options.profile)
        require_place(options, profile.truths)
        own = read_all(options.adapter)
        for adapter in own.values():
            adapter.require_rank(max_lora_rank(profile))
        if options.settings.broken is not None:
            require_adapter(options.settings.broken[0], own)
        models = {model.name: model for model in selected_models(options, profile)}
        return cls(options, profile, models, own, tuple(defects.load()))

    def known_defects(self, check_id: str) -> tuple[Defect, ...]:
        """The entries that speak of the check's model: those of other families do not, even of a
        user's own model."""
        model = self.models.get(check_id.split("/")[1])
        return tuple(one for one in self.defects if model is None or one.is_of(model.family))

    @cached_property
    def server_python(self) -> Path:
        """The interpreter whose vLLM is served."""
        return self.options.server_python or Path(sys.executable)

    @cached_property
    def families(self) -> dict[str, Family]:
        """Model → family, of every model that these options can select checks of.

        Those are the published models of the selected ones' families, and those that a pattern
        names; a pattern without a model's name selects among the families that the run is about.
        """
        published = registry.published()
        found: dict[str, Family] = {}
        for model in self.models.values():
            found |= dict.fromkeys(model.family.published, model.family)
        for name in names_models((*self.options.only, *self.options.skip), published):
            found.setdefault(name, published[name])
        return found | {name: model.family for name, model in self.models.items()}

    @property
    def served_families(self) -> tuple[Family, ...]:
        """The families whose models a run with these options may serve."""
        return tuple({family.name: family for family in self.families.values()}.values())

    def ends_server(self, check_id: str) -> bool:
        """Whether a known defect is said to end the check's server here."""
        kills = (
            one.may_end_server(check_id, self.profile.platform)
            for one in self.known_defects(check_id)
        )
        return not self.options.with_fixes and any(kills)

    def model(self, name: str) -> Model:
        """The model that checks call `name`: one of the run's, or a published one."""
        return self.models.get(name) or resolve(name)


def selected_models(options: RunOptions, profile: Profile) -> list[Model]:
    """The models that the user or the profile names.

    `all` means every published one of the profile's family, `all-families` each family's default.
    """
    names = options.model or (profile.model,)
    published = registry.published()
    found: dict[str, Model] = {}
    for name in dict.fromkeys(one for word in names for one in _meant(word, profile)):
        model = resolve(name, "" if options.model else profile.revision)
        own = not model.repository and name not in (*published, *registry.families())
        if model.name in found or (model.name in published and own):
            raise UsageError(
                f"'{name}' would be called {model.name}, as another model is",
                "rename the folder: its checks are named after it",
            )
        found[model.name] = model
    return list(found.values())


def _meant(word: str, profile: Profile) -> tuple[str, ...]:
    if word == "all":
        return resolve(profile.model, profile.revision).family.published
    if word == "all-families":
        return tuple(family.published[0] for family in registry.families().values())
    return (word,)
