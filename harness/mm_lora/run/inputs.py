"""What a run reads before anything else, once: profile, models, the user's adapters, defects."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mm_lora.adapters.own import OwnAdapter, read_all
from mm_lora.checks import defects
from mm_lora.checks.defects import Defect
from mm_lora.core.errors import UsageError
from mm_lora.families.models import PUBLISHED, Model, resolve
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
    def read(cls, options: RunOptions) -> "Inputs":
        """Raises UsageError for whatever cannot be used, before anything is started."""
        profile = profiles.load(options.profile)
        require_place(options, profile.truths)
        own = read_all(options.adapter)
        for adapter in own.values():
            adapter.require_rank(max_lora_rank(profile))
        models = {model.name: model for model in selected_models(options, profile)}
        return cls(options, profile, models, own, tuple(defects.load()))

    @cached_property
    def server_python(self) -> Path:
        """The interpreter whose vLLM is served."""
        return self.options.server_python or Path(sys.executable)

    def model(self, name: str) -> Model:
        """The model that checks call `name`: one of the run's, or a published one."""
        return self.models.get(name) or resolve(name)


def selected_models(options: RunOptions, profile: Profile) -> list[Model]:
    """The models that the user or the profile names; `all` means every published one."""
    names = options.model or (profile.model,)
    wanted = [n for name in names for n in (PUBLISHED if name == "all" else (name,))]
    found: dict[str, Model] = {}
    for name in dict.fromkeys(wanted):
        model = resolve(name, "" if options.model else profile.revision)
        own = not model.repository and name not in PUBLISHED
        if model.name in found or (model.name in PUBLISHED and own):
            raise UsageError(
                f"'{name}' would be called {model.name}, as another model is",
                "rename the folder: its checks are named after it",
            )
        found[model.name] = model
    return list(found.values())
