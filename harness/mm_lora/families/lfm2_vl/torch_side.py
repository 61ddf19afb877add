"""LFM2-VL on the torch side: the convolution's weights, what the real processor counts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mm_lora.families.counting import Spans
from mm_lora.families.lfm2_vl.family import CONV_IGNORED, FAMILY, HEADS_AS_TOKENS
from mm_lora.families.lfm2_vl.miniature import PAD, THUMBNAIL
from mm_lora.families.lfm2_vl.rope import heads_taken_for_tokens
from mm_lora.families.llava.torch_side import LlavaSide
from mm_lora.families.torch_side import Deltas

_TILE = re.compile(r"<\|img_row_(\d+)_col_(\d+)\|>")


def conv_ignored(model: Any, folder: Path, deltas: Deltas) -> Deltas:
    """What a server computes that knows the blocks that convolve by another name alone."""
    return {path: delta for path, delta in deltas.items() if ".conv." not in path}


class Lfm2VlSide(LlavaSide):
    """transformers' Lfm2VlForConditionalGeneration; the tower's names are as in LLaVA."""

    family = FAMILY
    apart = PAD
    mistakes: ClassVar[Mapping[str, Any]] = {CONV_IGNORED: conv_ignored}
    base_mistakes: ClassVar[Mapping[str, Any]] = {HEADS_AS_TOKENS: heads_taken_for_tokens}

    def without_idle(self, model: Any) -> Any:
        """Every layer of the tower is run."""
        return model

    def fan_in(self, name: str, shape: Sequence[int]) -> int:
        """The convolution sees each channel by itself, so many tokens of it."""
        return shape[-1] if name.endswith("conv.conv.weight") else super().fan_in(name, shape)

    def logits(self, model: Any, inputs: Any, token_ids: Sequence[int]) -> Any:
        """The model is told where the answer begins: `rope` needs to know."""
        model.prompt_length = inputs["input_ids"].shape[1]
        return super().logits(model, inputs, token_ids)

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The last tile says its place; the tower's rows are those of the pixels' shapes."""
        shapes = outcome["spatial_shapes"].prod(dim=1).tolist()
        found = []
        for span in spans:
            tiles = [match for token in span if (match := _TILE.fullmatch(token))]
            units = len(tiles) + (THUMBNAIL in span) if tiles else 1
            mine, shapes = shapes[:units], shapes[units:]
            rows, columns = (int(tiles[-1][1]), int(tiles[-1][2])) if tiles else (1, 1)
            found.append({"tile_rows": rows, "tile_columns": columns, "encoder_rows": sum(mine)})
        if shapes:
            raise RuntimeError(f"{len(shapes)} tiles belong to no picture")
        return found


SIDE = Lfm2VlSide()
