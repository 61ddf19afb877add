"""LLaVA-1.5: a CLIP tower, whose class token the projector does not see."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mm_lora.families.flow import known
from mm_lora.families.llava.layout import Layout
from mm_lora.families.llava.shared import PICTURES
from mm_lora.families.llava.towers import EncoderTower

WITHOUT_CLS = "tower-rows-without-cls"


class Llava(EncoderTower):
    """Every picture is cropped to a square. The last layer of the tower is never run."""

    name = "llava"
    title = "LLaVA-1.5"
    model_types = ("llava",)
    published: ClassVar[tuple[str, ...]] = ("llava",)
    repositories: ClassVar[Mapping[str, str]] = {"llava-hf/llava-1.5-7b-hf": "llava"}
    tower = "clip_vision_model"
    assumed: ClassVar[Mapping[str, int]] = {
        "image_size": 224,
        "patch_size": 32,
        "class_token": True,
    }
    formulas: ClassVar[Mapping[str, str]] = {
        **EncoderTower.formulas,
        "encoder": "p² + 1, p = image_size / patch_size: the class token of CLIP, which the "
        "projector does not see",
    }
    known_flows = (
        *known(
            name,
            (336, 336),
            "vLLM's docstring of LlavaForConditionalGeneration.forward",
            image_tokens=576,
        ),
        *known(
            name,
            (700, 400),
            "positions of openai/clip-vit-large-patch14-336",
            encoder_rows=577,
        ),
    )

    def picture_settings(self, layout: Layout) -> dict[str, Any]:
        """The shorter side becomes image_size, then the middle is cut out."""
        side = layout.image_size
        return {
            **PICTURES,
            "image_processor_type": "CLIPImageProcessor",
            "do_center_crop": True,
            "size": {"shortest_edge": side},
            "crop_size": {"height": side, "width": side},
        }

    def predicted_rows(self, layout: Layout, found: Sequence[Any]) -> tuple[str, ...]:
        """`tower-rows-without-cls`: only tower layers are wrong, and each picture is mapped one row
        less than it has there."""
        short = bool(found) and all(_without_class_tokens(layout, one) for one in found)
        return (WITHOUT_CLS,) if short and layout.drops_first else ()


def _without_class_tokens(layout: Layout, found: Any) -> bool:
    if found.what == "tower rows" or (
        "vision_tower." in found.where and found.what == "rows mapped"
    ):
        rows = layout.encoder_rows(layout.grid(1, 1))
        pictures, rest = divmod(found.expected, rows)
        return not rest and found.observed == pictures * (rows - 1)
    # The runs of a wrong number of rows differ with it.
    return "vision_tower." in found.where and found.what == "adapter of each row"


FAMILY = Llava()
