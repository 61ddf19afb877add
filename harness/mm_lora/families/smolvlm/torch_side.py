"""SmolVLM and Idefics3 on the torch side: what the real processor counts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from mm_lora.families.counting import Spans, require_tiles
from mm_lora.families.smolvlm.family import FAMILY, ROUNDED
from mm_lora.families.torch_side import TorchSide

_TILE = re.compile(r"<row_(\d+)_col_(\d+)>")


def patch_positions_rounded(model: Any) -> AbstractContextManager[None] | None:
    """What a server computes that finds each patch's position by comparing i/n with k/n as floats.

    Where i/n falls below its own boundary, as 10/27 does, the patch gets the position before.
    """
    import torch

    embeddings = model.get_submodule("model.vision_model.embeddings")
    side = embeddings.num_patches_per_side
    boundaries = torch.arange(1 / side, 1.0, 1 / side)
    found = torch.bucketize(torch.arange(side) / torch.tensor(side), boundaries, right=True)
    if found.equal(torch.arange(side)):
        return None
    moved = (found[:, None] * side + found).flatten()
    return _rows_taken(embeddings.position_embedding.weight, moved)


@contextmanager
def _rows_taken(weight: Any, rows: Any) -> Iterator[None]:
    """Each row of a table is another one of it, for a while."""
    right = weight.data
    weight.data = right[rows]
    try:
        yield
    finally:
        weight.data = right


class SmolVlmSide(TorchSide):
    """transformers' Idefics3ForConditionalGeneration."""

    family = FAMILY
    sharp = r"\.vision_model\..*[qk]_proj\.weight$"
    apart = "<|im_end|>"
    base_mistakes: ClassVar[Mapping[str, Any]] = {ROUNDED: patch_positions_rounded}

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """Each tile has a marker, and so has the end of a picture; the last tile says its place."""
        tiles = [span.count(processor.fake_image_token) - 1 for span in spans]
        require_tiles(tiles, outcome["pixel_values"].shape[1])
        last = [_last_tile(span) for span in spans]
        return [
            {"tile_rows": rows, "tile_columns": columns, "tiles": count}
            for (rows, columns), count in zip(last, tiles, strict=True)
        ]


def _last_tile(tokens: Sequence[str]) -> tuple[int, int]:
    """(row, column) that the last tile's marker names, (1, 1) where there is none."""
    found = [match for token in tokens if (match := _TILE.fullmatch(token))]
    return (int(found[-1][1]), int(found[-1][2])) if found else (1, 1)


SIDE = SmolVlmSide()
