"""Pure arithmetic from a sound's length to the rows that Qwen3-ASR's audio layers must see.

Written from the technical report (arXiv 2601.21337: frames of 10 ms, windows of a second, eight
frames a token) and the extractor's description, sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import require_same, stored_settings
from mm_lora.families.layouts import require_whole

HALVINGS = 3
"""Convolutions of stride 2, one after the other."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `rate`: samples in a second; `hop`: samples of a frame; `shortest`: samples to which a shorter
    sound is filled with silence; `half_window`: half the frames that the convolutions are given at
    once. Raises UsageError where no model can have these numbers.
    """

    half_window: int
    rate: int = 16000
    hop: int = 160
    shortest: int = 8000

    def __post_init__(self) -> None:
        require_whole(self, "half_window", "rate", "hop")

    @property
    def window(self) -> int:
        """Frames of a window; what is left at the end of a sound is a shorter one."""
        return 2 * self.half_window

    def frames(self, samples: int, rate: int) -> int:
        """Whole frames of a sound; what is less than one is not heard."""
        if rate != self.rate:
            raise UsageError(
                f"a sound with {rate} samples a second", f"{self.rate}: other rates are resampled"
            )
        if samples < 1:
            raise UsageError(f"no sound has {samples} samples", "the length")
        return max(samples, self.shortest) // self.hop

    def windows(self, frames: int) -> int:
        """How many windows hold these frames."""
        return -(-frames // self.window)

    def rows(self, frames: int) -> int:
        """Rows of the encoder's layers, and placeholders: each window is halved by itself."""
        whole, rest = divmod(frames, self.window)
        return whole * halved(self.window) + halved(rest)


def halved(frames: int) -> int:
    """Rows that the convolutions make of a window."""
    for _ in range(HALVINGS):
        frames = -(-frames // 2)
    return frames


def parts(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(audio_config, text_config): below `thinker_config` in the released files, at the top in
    those that transformers writes. Raises UsageError for a config that lacks one."""
    whole = config.get("thinker_config") or config
    audio, text = whole.get("audio_config"), whole.get("text_config")
    if not isinstance(audio, Mapping) or not isinstance(text, Mapping):
        raise UsageError("the config has no audio_config or no text_config", "a whole Qwen3-ASR")
    return audio, text


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Layout:
    """Of a config.json, and of the feature extractor's settings in `folder` where there are any."""
    half = parts(config)[0].get("n_window", 50)
    numbers: dict[str, int] = {}
    if folder is not None:
        require_same(folder, {"n_window": half})
        keys = {"rate": "sampling_rate", "hop": "hop_length", "shortest": "min_length"}
        for data, _ in stored_settings(folder):
            settings = data.get("feature_extractor") or data
            numbers |= {name: settings[key] for name, key in keys.items() if key in settings}
    return Layout(half_window=half, **numbers)
