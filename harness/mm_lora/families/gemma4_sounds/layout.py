"""Pure arithmetic from a sound's length to the rows that Gemma 4's audio layers must see.

Written from the feature extractor's description and Gemma 4's documentation (40 ms a token),
sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.layouts import require_whole

HALVINGS = 2
"""Convolutions of stride 2, one after the other."""
REACH: Mapping[str, int] = {"chunk_size": 12, "context_left": 13, "context_right": 0}
"""What transformers assumes of the rows that attention looks at, where a config says nothing."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `rate`: samples in a second; `hop`: samples from one frame to the next; `longest`: samples of
    which more are cut off; `distances`: between rows that attention tells apart. Raises UsageError
    where no model can have these numbers.
    """

    distances: int

    rate: int = 16000
    hop: int = 160
    longest: int = 480_000

    def __post_init__(self) -> None:
        require_whole(self, "rate", "hop", "longest", "distances")

    def frames(self, samples: int, rate: int) -> int:
        """Frames of a sound that lie wholly in it: each is two hops long and needs a sample more,
        and the first begins a hop before the sound."""
        if rate != self.rate:
            raise UsageError(
                f"a sound with {rate} samples a second", f"{self.rate}: other rates are resampled"
            )
        if samples <= self.hop:
            raise UsageError(
                f"a sound of {samples} samples has no frame", f"more than {self.hop} samples"
            )
        return (min(samples, self.longest) - 1) // self.hop


def rows(frames: int) -> int:
    """What two convolutions make of so many frames, and placeholders."""
    for _ in range(HALVINGS):
        frames = -(-frames // 2)
    return frames


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Layout:
    """Of the feature extractor's settings in `folder`, if there are any.

    Raises UsageError for a config without an audio tower: the large models have none.
    """
    audio = config.get("audio_config")
    if not isinstance(audio, Mapping):
        raise UsageError("the config has no audio_config", "a Gemma 4 that hears: E2B or E4B")
    numbers: dict[str, int] = {}
    for data, _ in stored_settings(folder) if folder is not None else ():
        settings = data.get("feature_extractor") or {}
        if "sampling_rate" in settings:
            numbers["rate"] = settings["sampling_rate"]
        if "hop_length_ms" in settings:
            rate = numbers.get("rate", Layout.rate)
            numbers["hop"] = round(rate * settings["hop_length_ms"] / 1000)
    reach = sum(audio.get(f"attention_{key}", value) for key, value in REACH.items()) - 1
    return Layout(**numbers, distances=reach // 2 + 1)
