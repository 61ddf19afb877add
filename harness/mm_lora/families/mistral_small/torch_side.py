"""Mistral Small 3.1 on the torch side: transformers' Mistral3."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.mistral_small.family import FAMILY, MERGER_IGNORED
from mm_lora.families.pixtral.torch_side import PixtralSide
from mm_lora.families.torch_side import Deltas


def merger_ignored(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server computes that has no LoRA layer for the patch merger."""
    return {path: delta for path, delta in deltas.items() if not path.endswith("merging_layer")}


class MistralSmallSide(PixtralSide):
    """transformers' Mistral3ForConditionalGeneration."""

    family = FAMILY
    mistakes: ClassVar[Mapping[str, Any]] = {
        **PixtralSide.mistakes,
        MERGER_IGNORED: merger_ignored,
    }

    def config(self, content: Mapping[str, Any]) -> Any:
        """transformers' config object, of params.json's content."""
        from transformers import Mistral3Config

        vision = content["params"]["vision_encoder"]
        return Mistral3Config(
            **self.parts(content),
            vision_feature_layer=-1,
            spatial_merge_size=vision["spatial_merge_size"],
            multimodal_projector_bias=vision.get("adapter_bias", True),
        )


SIDE = MistralSmallSide()
