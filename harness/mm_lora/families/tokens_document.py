"""What `mm-lora tokens --json` prints, as typed values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

OMITTED = msgspec.UNSET
"""In place of a key that is not written."""


def _counts(*size: str) -> msgspec.Meta:
    """Whole numbers by name: the medium's size, its tokens, and whatever else a family counts."""
    always = [*size, "image_tokens", "prompt_tokens"]
    return msgspec.Meta(extra_json_schema={"required": always})


Shown = Annotated[Mapping[str, int], _counts("width", "height")]
"""Of a picture or a video. Rows are `patch_rows`, `encoder_rows`, `connector_rows`, …"""

Heard = Annotated[Mapping[str, int], _counts("samples", "rate")]
"""Of a sound."""


@dataclass(frozen=True, kw_only=True)
class ModelTokens:
    """Of one model. `geometry`: the family's numbers. `pictures`, `videos`, `sounds`: size in
    pixels or samples, tokens, and the family's further counts of each; videos and sounds are there
    where some were asked about."""

    model: str
    source: str
    geometry: Mapping[str, Any]
    pictures: Sequence[Shown]
    videos: Sequence[Shown] | msgspec.UnsetType = OMITTED
    sounds: Sequence[Heard] | msgspec.UnsetType = OMITTED


@dataclass(frozen=True, kw_only=True)
class TokensDocument:
    """The whole document."""

    schema: Literal[1] = 1
    models: Sequence[ModelTokens]
