"""Pure arithmetic from a video's frames to the rows of LLaVA-NeXT-Video's layers.

Written from the description of its pooling, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import NAMES, VIDEO_NAME, stored_settings
from mm_lora.families.layouts import require_whole
from mm_lora.families.llava import layout as llava

POOLS = ("average", "max")


@dataclass(frozen=True, kw_only=True)
class Layout(llava.Layout):
    """`pool_stride`: so many patches of a frame along each side become one."""

    pool_stride: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "pool_stride")
        if self.connector_rows(self.grid(1, 1)) != self.side**2:
            raise UsageError(
                "what is pooled is not one row for each patch of a frame",
                "vision_feature_select_strategy: default for a tower with a class token",
            )
        # vLLM rounds up what pooling rounds down; the processor always divides by four.
        if self.side % self.pool_stride:
            raise UsageError(
                f"spatial_pool_stride {self.pool_stride} does not divide the {self.side} patches "
                "along a frame",
                "spatial_pool_stride and vision_config of the config",
            )

    @property
    def side(self) -> int:
        """Patches along a frame."""
        return self.image_size // self.patch_size

    @property
    def frame_rows(self) -> int:
        """Rows of the tower for one frame."""
        return self.encoder_rows(self.grid(1, 1))

    @property
    def pooled(self) -> int:
        """Rows of the connector for one frame, and its placeholders."""
        return (self.side // self.pool_stride) ** 2


def layout_of(
    config: Mapping[str, Any], folder: Path | None, tower: str, defaults: Mapping[str, int]
) -> Layout:
    """Of a config.json whose tower is of that `model_type`. The video processor's file in `folder`
    must say the same size."""
    plain = llava.layout_of(config, tower, defaults)
    mode = config.get("spatial_pool_mode", POOLS[0])
    if mode not in POOLS:
        raise UsageError(f"spatial_pool_mode is {mode!r}", f"{POOLS[0]} or {POOLS[1]}")
    if folder is not None:
        require_size(folder, plain.image_size)
    numbers = {field.name: getattr(plain, field.name) for field in fields(plain)}
    return Layout(**numbers, pool_stride=config.get("spatial_pool_stride", 2))


def require_size(folder: Path, image_size: int) -> None:
    """Raise UsageError where a folder's video processor makes frames of another size: by a file of
    its own, or by that of pictures."""
    for data, nested in stored_settings(folder, (*NAMES, VIDEO_NAME)):
        settings = nested or data
        size = settings.get("crop_size") or settings.get("size") or {}
        if any(value != image_size for value in size.values()):
            raise UsageError(
                f"the processor makes frames of {size}, the tower takes {image_size}",
                f"size and crop_size of {NAMES[0]} and {VIDEO_NAME}",
            )
