"""LFM2-VL on the torch side: the convolution's weights, what the real processor counts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.lfm2_vl.family import CONV_IGNORED, FAMILY
from mm_lora.families.lfm2_vl.miniature import IMAGE, PAD, THUMBNAIL
from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.torch_side import Deltas, as_loaded, between

_TILE = re.compile(r"<\|img_row_(\d+)_col_(\d+)\|>")


def conv_ignored(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server computes that knows the blocks that convolve by another name alone."""
    return {path: delta for path, delta in deltas.items() if ".conv." not in path}


class Lfm2VlSide(LlavaSide):
    """transformers' Lfm2VlForConditionalGeneration; the tower's names are as in LLaVA."""

    family = FAMILY
    mistakes: ClassVar[Mapping[str, Any]] = {CONV_IGNORED: conv_ignored}

    def without_idle(self, model: Any) -> Any:
        """Every layer of the tower is run."""
        return model

    def fan_in(self, name: str, shape: tuple[int, ...]) -> int:  # type: ignore[override]
        """The convolution sees each channel by itself, so many tokens of it."""
        return shape[-1] if name.endswith("conv.conv.weight") else super().fan_in(name, shape)

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids between two placeholders, the names of its tiles, and their shapes."""
        outcome = processor(
            text=PAD.join([IMAGE] * len(prompt)),
            images=[as_loaded(picture) for picture in prompt],
            add_special_tokens=False,
            return_tensors="pt",
        )
        ids = outcome["input_ids"][0].tolist()
        spans = between(processor.tokenizer.convert_ids_to_tokens(ids), PAD)
        shapes = outcome["spatial_shapes"].prod(dim=1).tolist()
        found = []
        for picture, span in zip(prompt, spans, strict=True):
            tiles = [match for token in span if (match := _TILE.fullmatch(token))]
            units = len(tiles) + (THUMBNAIL in span) if tiles else 1
            mine, shapes = shapes[:units], shapes[units:]
            found.append(
                {
                    "name": picture["name"],
                    "tile_rows": int(tiles[-1][1]) if tiles else 1,
                    "tile_columns": int(tiles[-1][2]) if tiles else 1,
                    "encoder_rows": sum(mine),
                    "image_tokens": span.count(IMAGE),
                    "prompt_tokens": len(span),
                }
            )
        if shapes:
            raise RuntimeError(f"{len(shapes)} tiles belong to no picture")
        return found


SIDE = Lfm2VlSide()
