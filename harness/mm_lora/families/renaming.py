"""`RenamedSide`: transformers' model, its parts under the names of the published checkpoints.

For a family whose checkpoints come with a class of their own: adapters are trained for its names,
and vLLM has them, but transformers' own class has others. Imported by the worker alone.
"""

import json
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

from mm_lora.families.torch_side import TorchSide, importable


def renamed(module: Any, names: Mapping[str, str], **more: property) -> None:
    """Give children and parameters other names; the module's own code still finds them by the old
    ones. So PEFT, a checkpoint and transformers' code speak of one module, each in its names."""
    aliases = dict(more)
    for old, new in names.items():
        for table in (module._modules, module._parameters):
            if old in table:
                table[new] = table.pop(old)
        aliases[old] = property(attrgetter(new))
    kind = type(module)
    module.__class__ = type(kind.__name__, (kind,), aliases)


def fused(module: Any, parts: tuple[str, ...], name: str) -> None:
    """One Linear, `name`, in the place of several of one size, each of which gives an equal part of
    its output: first the first."""
    first, *others = (module._modules.pop(part) for part in parts)
    kind, rows = type(first), (1 + len(others)) * first.out_features
    device, dtype = first.weight.device, first.weight.dtype
    bias = first.bias is not None
    module.add_module(name, kind(first.in_features, rows, bias=bias, device=device, dtype=dtype))
    gives = partial(_part, name=name, count=len(parts))
    renamed(module, {}, **{p: property(partial(gives, at=at)) for at, p in enumerate(parts)})


def _part(module: Any, name: str, count: int, at: int) -> Any:
    """What gives one part for rows; the layer is looked up anew, since PEFT replaces it."""
    return lambda rows: getattr(module, name)(rows).chunk(count, dim=-1)[at]


def content_of(checkpoint: str) -> dict[str, Any]:
    """What a checkpoint's config.json holds."""
    file = Path(checkpoint, "config.json")
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content


class RenamedSide(TorchSide):
    """A subclass says how the names differ."""

    def as_published(self, native: Any) -> Any:
        """transformers' model with the names of the published checkpoints: it computes by
        `native`, whose modules it has."""
        raise NotImplementedError

    def config_for(self, checkpoint: str) -> Any:
        """transformers' config object of a checkpoint's folder, with all that computing needs."""
        return self.config(content_of(checkpoint))

    def meta_model(self, config: Mapping[str, Any]) -> Any:
        """With the published names."""
        return self.as_published(super().meta_model(config))

    def load(self, checkpoint: str) -> Any:
        """From the published names, each of which must be there."""
        importable()
        import torch
        import transformers
        from transformers.modeling_utils import load_state_dict

        auto: Any = getattr(transformers, self.auto)
        native = auto.from_config(
            self.config_for(checkpoint), dtype=torch.float32, attn_implementation="eager"
        )
        model = self.as_published(native)
        weights: dict[str, Any] = {}
        for file in sorted(Path(checkpoint).glob("*.safetensors")):
            weights |= load_state_dict(str(file))
        model.load_state_dict(weights)
        native.eval()
        model.eval()
        return model
