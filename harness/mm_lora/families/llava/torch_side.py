"""LLaVA on the torch side: layers that never run, names in files, what the processor counts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.counting import Spans
from mm_lora.families.llava.family import FAMILY
from mm_lora.families.llava.miniature import PAD, layers_run
from mm_lora.families.llava.shared import LlavaFamily
from mm_lora.families.llava.towers import FILES, OWN
from mm_lora.families.torch_side import TorchSide


class LlavaSide(TorchSide):
    """transformers' LlavaForConditionalGeneration."""

    family: ClassVar[LlavaFamily] = FAMILY
    sharp = r"\.vision_tower\..*[qk]_proj\.weight$"
    apart = PAD

    def without_idle(self, model: Any) -> Any:
        """Without the tower's layers after the one whose output the projector is given."""
        layers, feature = self.tower_layers(model), model.config.vision_feature_layer
        del layers[layers_run(feature, len(layers)) :]
        return model

    def tower_layers(self, model: Any) -> Any:
        """The tower's, a ModuleList."""
        return model.get_submodule("model.vision_tower.encoder.layers")

    def saved_names(self, name: str) -> str:
        """With the level that released checkpoints have."""
        return name if name.startswith(FILES) else name.replace(OWN, FILES, 1)

    def own_names(self, name: str) -> str:
        """Without that level."""
        return name.replace(FILES, OWN, 1)

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """What the pixels show."""
        return self.measured(processor, outcome)

    def measured(self, processor: Any, outcome: Any) -> Sequence[dict[str, int]]:
        """What each picture's pixels show: its grid of patches."""
        pixels, patch = outcome["pixel_values"], processor.patch_size
        return [
            {"grid_height": int(height) // patch, "grid_width": int(width) // patch}
            for height, width in outcome.get("image_sizes", [pixels.shape[-2:]] * len(pixels))
        ]


SIDE = LlavaSide()
