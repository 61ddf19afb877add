"""LLaVA with a Pixtral tower, on the torch side."""

from collections.abc import Sequence
from typing import Any

from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.llava_pixtral.family import FAMILY


class LlavaPixtralSide(LlavaSide):
    """Other layers; the tower has the same names everywhere."""

    family = FAMILY

    def tower_layers(self, model: Any) -> Any:
        """The tower's, a ModuleList."""
        return model.get_submodule("model.vision_tower.transformer.layers")

    def saved_names(self, name: str) -> str:
        """Unchanged."""
        return name

    def is_norm(self, name: str, shape: Sequence[int]) -> bool:
        """`ln_pre` too."""
        return name.endswith("ln_pre.weight") or super().is_norm(name, shape)


SIDE = LlavaPixtralSide()
