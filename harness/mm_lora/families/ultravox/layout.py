"""Pure arithmetic from a sound's length to the rows that Ultravox's audio layers must see.

Written from the authors' description (github.com/fixie-ai/ultravox) of chunks and stacked frames,
sharing no line with their code, transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import stored_settings
from mm_lora.families.layouts import require_whole

HALVED = 2
"""Frames that the encoder's second convolution makes one position of."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The numbers that decide token counts.

    `positions`: of the encoder, all of which a chunk has where the tower takes adapters; `stack`:
    neighbouring positions that become one row of the projector; `rate`: samples in a second; `hop`:
    samples of a frame. Raises UsageError where no model can have these numbers.
    """

    positions: int
    stack: int
    rate: int = 16000
    hop: int = 160

    def __post_init__(self) -> None:
        require_whole(self, "positions", "stack", "rate", "hop")

    @property
    def chunk(self) -> int:
        """Frames of a whole chunk."""
        return HALVED * self.positions

    @property
    def chunk_rows(self) -> int:
        """Rows of the projector for a chunk, and placeholders of a whole one."""
        return -(-self.positions // self.stack)

    def frames(self, samples: int, rate: int) -> int:
        """Frames of a sound, the last one filled up; two at least."""
        if rate != self.rate:
            raise UsageError(
                f"a sound with {rate} samples a second", f"{self.rate}: other rates are resampled"
            )
        if samples < 1:
            raise UsageError(f"no sound has {samples} samples", "the length")
        return max(-(-samples // self.hop), 2)

    def chunks(self, frames: int) -> int:
        """How many chunks hold these frames."""
        return -(-frames // self.chunk)

    def tokens(self, frames: int) -> int:
        """Placeholders: each chunk is halved and stacked by itself."""
        whole, rest = divmod(frames, self.chunk)
        return whole * -(-self.chunk // self.joined) + -(-rest // self.joined)

    @property
    def joined(self) -> int:
        """Frames that become one placeholder."""
        return HALVED * self.stack


def parts(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(audio_config, text_config). Raises UsageError for a config that lacks one, as those do that
    only name the repositories of both."""
    audio, text = config.get("audio_config"), config.get("text_config")
    if not isinstance(audio, Mapping) or not isinstance(text, Mapping):
        raise UsageError("the config has no audio_config or no text_config", "a whole Ultravox")
    return audio, text


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Layout:
    """Of a config.json, and of the feature extractor's settings in `folder` where there are any."""
    numbers: dict[str, int] = {}
    keys = {"rate": "sampling_rate", "hop": "hop_length"}
    for settings, _ in stored_settings(folder) if folder else ():
        numbers |= {name: settings[key] for name, key in keys.items() if key in settings}
    return Layout(
        positions=parts(config)[0].get("max_source_positions", 1500),
        stack=config.get("stack_factor", 8),
        **numbers,
    )
