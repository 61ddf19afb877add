"""Pure arithmetic of Gemma 4's pictures and videos: as large as a budget of patches lets them be.

Written from the model's documentation, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import floor, sqrt
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import require_same
from mm_lora.families.layouts import require_picture, require_whole, vision_of

TOWER = "gemma4_vision"
DEFAULTS: Mapping[str, int] = {"patch_size": 16, "pooling_kernel_size": 3}
"""What transformers assumes for a number that a vision_config lacks."""
BUDGETS = (70, 140, 280, 560, 1120)
"""The most placeholders of a picture that the model was trained with."""
FRAME_BUDGET = 70
"""The most of one frame of a video."""

Grid = tuple[int, int]
"""(high, wide): squares of patches, each of which becomes one placeholder."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `patch`: pixels along a patch's side; `pool`: patches along the side of what becomes one row;
    `most`: placeholders of a picture at most, `frame_most` of one frame of a video. Raises
    UsageError where no model can have these numbers.
    """

    patch: int
    pool: int
    most: int
    frame_most: int = FRAME_BUDGET

    def __post_init__(self) -> None:
        require_whole(self, "patch", "pool", "most", "frame_most")
        for number in (self.most, self.frame_most):
            if number not in BUDGETS:
                raise UsageError(
                    f"a budget of {number} tokens", f"one of {', '.join(map(str, BUDGETS))}"
                )

    @property
    def square(self) -> int:
        """Pixels along the side of what becomes one row."""
        return self.patch * self.pool

    def grid(self, width: int, height: int, most: int) -> Grid:
        """Of a picture that is resized to `most` rows at most; each side is rounded down.

        In floating point, as everybody computes it: at 14:5 and `most` 280 a side is one shorter
        than by exact numbers. A picture whose short side would vanish is one row high or wide.
        """
        require_picture(width, height)
        grown = sqrt(most * self.square**2 / (width * height))
        wide, high = (floor(grown * side / self.square) for side in (width, height))
        if not high:
            return 1, min(width // height, most)
        if not wide:
            return min(height // width, most), 1
        return high, wide

    def rows(self, most: int) -> int:
        """Rows of the tower for one picture: what its budget is not used for is filled up."""
        return most * self.pool**2


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Layout:
    """Of a config.json, and the processor's files in its folder if there are any."""
    vision = vision_of(config, "Gemma 4")
    kind = vision.get("model_type", TOWER)
    if kind != TOWER:
        raise UsageError(f"the tower is a {kind!r}, which no Gemma 4 has", "vision_config")
    patch, pool = (vision.get(key, value) for key, value in DEFAULTS.items())
    most = vision.get("default_output_length")
    if most is None:
        raise UsageError(
            "vision_config has no default_output_length",
            "the most rows of a picture, 280 in the published models: vLLM does not start without",
        )
    layout = Layout(patch=patch, pool=pool, most=most)
    if folder is not None:
        same = {"patch_size": patch, "pooling_kernel_size": pool, "max_soft_tokens": most}
        require_same(folder, same)
        require_same(folder, {"video_processor.max_soft_tokens": FRAME_BUDGET})
    return layout
