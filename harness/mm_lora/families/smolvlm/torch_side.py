"""SmolVLM and Idefics3 on the torch side: what the real processor counts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

from mm_lora.families.smolvlm.family import FAMILY, ROUNDED
from mm_lora.families.torch_side import NOTHING, TorchSide, as_loaded, between

SHARPER = 2.5
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
    base_mistakes: ClassVar[Mapping[str, Any]] = {ROUNDED: patch_positions_rounded}

    def random_tensor(
        self, name: str, shape: tuple[int, ...], seed: int, tied: Mapping[str, str] = NOTHING
    ) -> Any:
        """Queries and keys of the tower are longer: hundreds of patches that look alike would have
        nearly equal weights, and an adapter there would move nothing."""
        values = super().random_tensor(name, shape, seed, tied)
        sharp = ".vision_model." in name and name.endswith(("q_proj.weight", "k_proj.weight"))
        return values * SHARPER if sharp else values

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """From the token ids between two placeholders, and the names of its tiles."""
        tokenizer, apart = processor.tokenizer, "<|im_end|>"
        outcome = processor(
            text=apart.join([processor.image_token] * len(prompt)),
            images=[as_loaded(picture) for picture in prompt],
            add_special_tokens=False,
            return_tensors="pt",
        )
        tokens = tokenizer.convert_ids_to_tokens(outcome["input_ids"][0].tolist())
        spans = between(tokens, apart)
        tiles = [span.count(processor.fake_image_token) - 1 for span in spans]
        if len(spans) != len(prompt) or sum(tiles) != outcome["pixel_values"].shape[1]:
            raise RuntimeError(
                f"{len(prompt)} pictures became {tiles} tiles in the prompt and "
                f"{tuple(outcome['pixel_values'].shape)} pixels"
            )
        last = [_last_tile(span) for span in spans]
        return [
            {
                "name": picture["name"],
                "tile_rows": rows,
                "tile_columns": columns,
                "tiles": count,
                "image_tokens": span.count(processor.image_token),
                "prompt_tokens": len(span),
            }
            for picture, (rows, columns), count, span in zip(
                prompt, last, tiles, spans, strict=True
            )
        ]


def _last_tile(tokens: Sequence[str]) -> tuple[int, int]:
    """(row, column) that the last tile's marker names, (1, 1) where there is none."""
    found = [match for token in tokens if (match := _TILE.fullmatch(token))]
    return (int(found[-1][1]), int(found[-1][2])) if found else (1, 1)


SIDE = SmolVlmSide()
