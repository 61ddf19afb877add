"""The one assembler of a server: from a run's inputs and its vLLM to all that starts it.

`verify`, `serve`, the bench and the dry run differ only in their stock: one builds what the server
reads, the other says where it would be.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mm_lora.adapters.broken import broken_copy
from mm_lora.families.models import Model
from mm_lora.run.inputs import Inputs
from mm_lora.run.plan import flag_values
from mm_lora.serving.prepared import Prepared
from mm_lora.serving.served_vllm import ServedVllm
from mm_lora.serving.server.spec import FlagValue, ServerSpec


class Stock(Protocol):
    """Where a server's files are, or will be."""

    def model(self, name: str) -> Model:
        """The model that checks call `name`."""
        ...

    def checkpoint(self, model: str) -> Path:
        """The folder that is served as `model`."""
        ...

    def folders(self, model: str, names: tuple[str, ...]) -> Mapping[str, Path]:
        """The folders of that model's adapters, by name."""
        ...


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`left_out`: flags of the profile that this vLLM does not have. `copies`: target → the adapter
    folder that is copied there and broken, and how."""

    prepared: Prepared
    left_out: Mapping[str, FlagValue] = field(default_factory=dict)
    copies: Mapping[Path, tuple[Path, str]] = field(default_factory=dict)

    def cook(self) -> Prepared:
        """Make what has to be made afresh for this server."""
        for target, (source, how) in self.copies.items():
            if not target.exists():
                broken_copy(source, target, how)
        return self.prepared


def recipe(
    spec: ServerSpec, inputs: Inputs, vllm: ServedVllm, stock: Stock, folder: Path
) -> Recipe:
    """What the server of `spec` is made of; `folder`: where the run keeps copies of its own.

    Raises NotApplicable for a flag that a check wants and this vLLM does not have.
    """
    family = inputs.model(spec.model).family
    fit = vllm.fit(spec, flag_values(inputs.profile, family), family)
    left = {name for name, _ in spec.flags} - {name for name, _ in fit.flags}
    checkpoint = stock.checkpoint(spec.model)  # first: a download decides what the model is
    adapters = dict(stock.folders(spec.model, spec.adapters))
    copies = {}
    if inputs.options.settings.broken is not None:
        name, how = inputs.options.settings.broken
        if name in adapters:
            target = folder / "broken" / f"{adapters[name].name}-{spec.key}"
            copies[target] = (adapters[name], how)
            adapters[name] = target
    return Recipe(
        prepared=Prepared(
            spec=fit,
            python=inputs.server_python,
            checkpoint=checkpoint,
            adapters=adapters,
            search=vllm.search,
            repository=stock.model(spec.model).repository,
            ready_timeout_s=inputs.profile.ready_timeout_s,
            port=inputs.options.settings.port,
        ),
        left_out={name: spec.flag(name) for name in sorted(left)},
        copies=copies,
    )
