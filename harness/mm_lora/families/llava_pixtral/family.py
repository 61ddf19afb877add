"""LLaVA with a Pixtral tower: pictures of any shape, a marker after each row of patches."""

from collections.abc import Mapping
from typing import Any, ClassVar

from mm_lora.families.family import Sizes
from mm_lora.families.flow import known
from mm_lora.families.llava import miniature
from mm_lora.families.llava.layout import Layout
from mm_lora.families.llava.shared import PICTURES, LlavaFamily, forms, groups
from mm_lora.families.modules import TOWER

_LAYERS = "model.vision_tower.transformer.layers.*"
_PATTERN = r"model\.vision_tower\.transformer\.layers\.\d+"
_ATTENTION = tuple(f"attention.{name}_proj" for name in "qkvo")
_MLP = tuple(f"feed_forward.{name}_proj" for name in ("gate", "up", "down"))


class LlavaPixtral(LlavaFamily):
    """The tower takes the patches of all pictures of a step in one row of rows."""

    name = "llava-pixtral"
    title = "LLaVA with Pixtral"
    model_types = ("llava+pixtral",)
    published = ("llava-pixtral",)
    repositories: ClassVar[Mapping[str, str]] = {"mistral-community/pixtral-12b": "llava-pixtral"}
    tower = "pixtral"
    assumed: ClassVar[Mapping[str, int]] = {"image_size": 1024, "patch_size": 16, "free": True}
    groups = groups(_LAYERS, _PATTERN, _ATTENTION, _MLP)
    forms = forms(groups, "o_proj", "down_proj")
    sizes = Sizes(few=(300, 400))
    processor_class = "PixtralProcessor"
    image_token = "[IMG]"
    special_tokens: ClassVar[tuple[str, ...]] = (
        *("<unk>", miniature.BOS, miniature.EOS, miniature.PAD),
        *("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]"),
    )
    prefix_cases: ClassVar[Mapping[str, str]] = {
        "vision_tower.transformer.layers.23.attention.qkv_proj": TOWER,
        "vision_tower.transformer.layers.0.attention.o_proj": TOWER,
        "vision_tower.transformer.layers.0.feed_forward.gate_up_proj": TOWER,
        **LlavaFamily.connector_cases,
    }
    formulas: ClassVar[Mapping[str, str]] = {
        "encoder": "⌈h / patch_size⌉ · ⌈w / patch_size⌉ of the picture, whose longer side is at "
        "most image_size (Pixtral 12B, arXiv 2410.07073)",
        "connector": "as many",
    }
    known_flows = known(
        name,
        (1024, 1024),
        "the published tower: 1024 pixels a side at most, patches of 16",
        image_tokens=64 * 64,
    )

    def markers(self, grid: tuple[int, int]) -> int:
        """[IMG_BREAK] after each row, after the last one [IMG_END]."""
        return grid[0]

    def picture_settings(self, layout: Layout) -> dict[str, Any]:
        """The longest edge, which pictures may have at most."""
        patch = {"height": layout.patch_size, "width": layout.patch_size}
        return {
            **PICTURES,
            "image_processor_type": "PixtralImageProcessor",
            "size": {"longest_edge": layout.image_size},
            "patch_size": patch,
        }

    def processor_settings(self, layout: Layout) -> dict[str, Any]:
        """Markers have their usual names."""
        return {"patch_size": layout.patch_size, "image_token": self.image_token}


FAMILY = LlavaPixtral()
