"""Pure arithmetic from a picture's size to the rows that LLaVA's vision layers must see.

Written from the processors' description, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.layouts import require_picture, require_whole, vision_of

DROPS_FIRST, KEEPS_ALL = "default", "full"
"""`vision_feature_select_strategy`: without the tower's first row, or with every row."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `image_size`: side of the square that a picture becomes, or the longest side that it keeps where
    it is `free` in its shape; `patch_size`: of a patch. `class_token`: whether the tower puts a row
    before those of the patches; `drops_first`: whether the connector does not see the first row.
    Raises UsageError where no model can have these numbers.
    """

    image_size: int
    patch_size: int
    class_token: bool = False
    drops_first: bool = False
    free: bool = False

    def __post_init__(self) -> None:
        require_whole(self, "image_size", "patch_size")
        if self.image_size < self.patch_size:
            raise UsageError(
                f"a picture of {self.image_size} pixels has no patch of {self.patch_size}",
                "image_size and patch_size of vision_config",
            )
        # vLLM's tower asserts it for CLIP; SigLIP leaves out what is left over.
        if self.class_token and self.image_size % self.patch_size:
            raise UsageError(
                f"patch_size {self.patch_size} does not divide image_size {self.image_size}",
                "image_size and patch_size of vision_config",
            )
        if self.drops_first and self.free:
            raise UsageError(
                "vision_feature_select_strategy drops the first patch of all pictures together",
                f'"{KEEPS_ALL}", as the published model has it',
            )

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of patches. A free picture that is too large shrinks until its longer
        side fits; then patches cover it all."""
        require_picture(width, height)
        if not self.free:
            side = self.image_size // self.patch_size
            return side, side
        longest = max(width, height)
        if longest > self.image_size:
            # In floating point as the processor shrinks: 1023 for some sides that are 1024 exactly.
            ratio = longest / self.image_size
            width, height = int(width / ratio), int(height / ratio)
        if min(width, height) < 1:
            raise UsageError("the picture is too thin: its shorter side vanishes", "the size")
        return -(-height // self.patch_size), -(-width // self.patch_size)

    def encoder_rows(self, grid: tuple[int, int]) -> int:
        """Rows of every tower layer for one picture."""
        return grid[0] * grid[1] + self.class_token

    def connector_rows(self, grid: tuple[int, int]) -> int:
        """Rows of the connector for one picture, and its placeholders."""
        return self.encoder_rows(grid) - self.drops_first


def layout_of(config: Mapping[str, Any], tower: str, defaults: Mapping[str, int]) -> Layout:
    """Of a config.json whose tower must be of that `model_type`.

    `defaults`: what transformers assumes for a key that vision_config lacks; whether there is a
    class token too, and whether pictures are free in their shape.
    """
    vision = vision_of(config, "LLaVA")
    kind = vision.get("model_type", tower)
    if kind != tower:
        raise UsageError(f"the tower is a {kind!r}, which no LLaVA here has", "vision_config")
    strategy = config.get("vision_feature_select_strategy", DROPS_FIRST)
    if strategy not in (DROPS_FIRST, KEEPS_ALL):
        raise UsageError(
            f"vision_feature_select_strategy is {strategy!r}", f"{DROPS_FIRST} or {KEEPS_ALL}"
        )
    numbers: dict[str, Any] = {key: vision.get(key, value) for key, value in defaults.items()}
    return Layout(**numbers, drops_first=strategy == DROPS_FIRST)


def require_size(folder: Path, image_size: int) -> None:
    """Raise UsageError where a folder's image processor makes pictures of another size: vLLM then
    counts by the config, and its tower takes no other."""
    for data, nested in stored_settings(folder):
        settings = nested or data
        size = settings.get("crop_size") or settings.get("size")
        values = [size] if isinstance(size, int) else (size or {}).values()
        if any(value != image_size for value in values):
            raise UsageError(
                f"the processor makes pictures of {size}, the tower takes {image_size}",
                "size and crop_size of preprocessor_config.json",
            )
