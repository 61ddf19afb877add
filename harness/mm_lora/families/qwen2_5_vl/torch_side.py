"""Qwen2.5-VL on the torch side: the time between two frames has a part in positions."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from mm_lora.families.qwen.torch_side import QwenSide
from mm_lora.families.qwen2_5_vl.family import FAMILY, FAST_VIDEOS

_FPS = 24.0
"""What transformers takes for a video of which it knows no frames a second."""


def fast_videos(model: Any) -> AbstractContextManager[None]:
    """Positions as if every video had 24 frames a second."""
    inner = model.model
    original = inner.get_rope_index

    def get_rope_index(*given: Any, **named: Any) -> Any:
        times = named.get("second_per_grid_ts")
        if times is not None:
            group = model.config.vision_config.temporal_patch_size
            named["second_per_grid_ts"] = [group / _FPS for _ in times]
        return original(*given, **named)

    @contextmanager
    def meanwhile() -> Iterator[None]:
        inner.get_rope_index = get_rope_index
        try:
            yield
        finally:
            inner.get_rope_index = original

    return meanwhile()


class Qwen25VLSide(QwenSide):
    """transformers' Qwen2_5_VLForConditionalGeneration."""

    family = FAMILY
    base_mistakes: ClassVar[Mapping[str, Any]] = {FAST_VIDEOS: fast_videos}


SIDE = Qwen25VLSide()
