"""Frames of videos in one stretch: a fix, and the mistake that it mends where memory is short."""

from typing import Any

from ...registry import Patch, mutant
from .hooks import OWN, OWNER

ALL = 1 << 30
"""More frames than any step has."""


def _together(original: Any) -> Any:
    def _process_video_input(self: Any, video_input: Any) -> Any:
        if not self._enable_mm_lora:
            return original(self, video_input)
        # Of this model alone, and meanwhile: pictures ask nothing where LoRA is on.
        self._encoder_chunk = lambda *_: ALL
        try:
            return original(self, video_input)
        finally:
            del self._encoder_chunk

    return _process_video_input


def _one_by_one(original: Any) -> Any:
    def _process_video_input(self: Any, video_input: Any) -> list[Any]:
        # Here, since the harness reads the catalogue too, and has no torch.
        import torch

        pixels = video_input["pixel_values_videos"]
        places = video_input["pixel_position_ids_videos"]
        counts = [int(count) for count in video_input["video_frame_counts"]]
        frames = []
        for at in range(len(pixels)):
            alone = {
                "pixel_values_videos": pixels[at : at + 1],
                "pixel_position_ids_videos": places[at : at + 1],
                "video_frame_counts": [1],
            }
            frames += original(self, alone)
        ends = [sum(counts[: at + 1]) for at in range(len(counts))]
        return [
            torch.cat(frames[end - count : end]) for end, count in zip(ends, counts, strict=True)
        ]

    return _process_video_input


PATCHES = (
    Patch(
        id="gemma4-frames-together",
        kind="fix",
        versions=">=0.32",
        wraps={f"{OWNER}._process_video_input": _together},
        needs=(f"{OWNER}._encoder_chunk",),
        reason="where memory is short, the frames of a step are encoded in several calls, and each "
        "takes its rows from the first on; pictures are encoded in one call where LoRA is on",
    ),
    mutant(
        "gemma4-frames-one-by-one",
        {f"{OWNER}._process_video_input": _one_by_one},
        "memory for one frame of a video at a time",
        versions=">=0.32",
        kills=("arithmetic/*/rows/*/video", "numerics/*/[!b]*/video"),
        families=OWN,
    ),
)
