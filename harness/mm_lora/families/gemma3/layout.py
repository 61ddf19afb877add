"""Pure arithmetic of Gemma 3's pictures: one square, whose patches are averaged before they leave.

Written from the model's description, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import require_same, stored_settings
from mm_lora.families.layouts import require_whole, vision_of
from mm_lora.families.llava import layout as llava

TOWER = "siglip_vision_model"
DEFAULTS: Mapping[str, int] = {"image_size": 224, "patch_size": 16}
"""What transformers assumes for a tower's number that a config lacks."""
DEFAULT_TOKENS = 256


@dataclass(frozen=True, kw_only=True)
class Layout(llava.Layout):
    """`pooled`: rows that are left of a picture once its patches were averaged, square by square.

    Raises UsageError where no model can have these numbers.
    """

    pooled: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "pooled")
        side = self.image_size // self.patch_size
        if isqrt(self.pooled) ** 2 != self.pooled or side % isqrt(self.pooled):
            raise UsageError(
                f"{side} × {side} patches cannot be averaged into {self.pooled} squares",
                "mm_tokens_per_image, and image_size and patch_size of vision_config",
            )

    def connector_rows(self, grid: tuple[int, int]) -> int:
        """Rows that the projection multiplies for one picture, and its placeholders."""
        return self.pooled


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Layout:
    """Of a config.json, and the processor's files in its folder if there are any."""
    vision = vision_of(config, "Gemma 3")
    kind = vision.get("model_type", TOWER)
    if kind != TOWER:
        raise UsageError(f"the tower is a {kind!r}, which no Gemma 3 has", "vision_config")
    layout = Layout(
        **{key: vision.get(key, value) for key, value in DEFAULTS.items()},
        pooled=config.get("mm_tokens_per_image", DEFAULT_TOKENS),
    )
    if folder is not None:
        llava.require_size(folder, layout.image_size)
        require_same(folder, {"image_seq_length": layout.pooled})
        for settings in (one for pair in stored_settings(folder) for one in pair):
            if settings.get("do_pan_and_scan"):
                raise UsageError(
                    "do_pan_and_scan is on: crops of a picture are not counted here",
                    "do_pan_and_scan of preprocessor_config.json, off in the published models",
                )
    return layout
