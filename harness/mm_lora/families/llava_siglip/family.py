"""LLaVA with a SigLIP tower: every row of the tower is a placeholder."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mm_lora.families.flow import known
from mm_lora.families.llava.layout import Layout
from mm_lora.families.llava.shared import PICTURES
from mm_lora.families.llava.towers import EncoderTower
from mm_lora.families.miniature import HALF


class LlavaSiglip(EncoderTower):
    """Every picture is squeezed to a square. There is no class token."""

    name = "llava-siglip"
    title = "LLaVA with SigLIP"
    model_types = ("llava+siglip_vision_model",)
    published = ("llava-siglip",)
    repositories: ClassVar[Mapping[str, str]] = {
        "llava-hf/llava-interleave-qwen-0.5b-hf": "llava-siglip"
    }
    tower = "siglip_vision_model"
    assumed: ClassVar[Mapping[str, int]] = {"image_size": 224, "patch_size": 16}
    known_flows = known(
        name, (384, 384), "positions of google/siglip-so400m-patch14-384", image_tokens=729
    )

    def picture_settings(self, layout: Layout) -> dict[str, Any]:
        """One size."""
        side = layout.image_size
        return {
            **PICTURES,
            "image_processor_type": "SiglipImageProcessor",
            "image_mean": HALF,
            "image_std": HALF,
            "size": {"height": side, "width": side},
        }


FAMILY = LlavaSiglip()
