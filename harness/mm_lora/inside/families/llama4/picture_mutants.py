"""Mutants: seeded mistakes in Llama 4's vision path, with adapters and without."""

from typing import Any

from ...registry import mutant
from .mutants import CLASS, MODULE, OWN


def _shift_pixels(original: Any) -> Any:
    """Every chunk [chunks, 3, height, width] one pixel to the right."""

    def forward(self: Any, images_flattened: Any, *rest: Any, **options: Any) -> Any:
        return original(self, images_flattened.roll(1, -1), *rest, **options)

    return forward


def _shift_chunks(original: Any) -> Any:
    """Each chunk's features, [image tokens, width] a picture, go to the chunk after it."""

    def _process_image_input(self: Any, image_input: Any) -> Any:
        pictures = list(original(self, image_input))
        vision = self.config.vision_config
        side = vision.image_size / vision.patch_size * vision.pixel_shuffle_ratio
        rows = round(side**2)
        chunks = [chunk for picture in pictures for chunk in picture.clone().split(rows)]
        places = [place for picture in pictures for place in picture.split(rows)]
        for place, chunk in zip(places, chunks[-1:] + chunks[:-1], strict=True):
            place.copy_(chunk)
        return pictures

    return _process_image_input


def _cached_positions(original: Any) -> Any:
    """A prompt [rows] that goes on after a cached part counts its positions from one too far."""

    def forward(self: Any, input_ids: Any, positions: Any, *rest: Any, **options: Any) -> Any:
        if len(positions) > 1 and positions[0] > 0:
            positions = positions + 1
        return original(self, input_ids, positions, *rest, **options)

    return forward


PATCHES = (
    mutant(
        "pixels-shifted",
        {f"{MODULE}:Llama4VisionModel.forward": _shift_pixels},
        "the picture is one pixel off: a resize or crop other than the reference's",
        kills=(
            "dice/*/base/reference",
            "dice/*/*/effect",
            "dice/*/*/two-pictures",
            "parallel/*/data-encoder/base",
        ),
        families=OWN,
        survives={"relations": "every answer is wrong in the same way"},
    ),
    mutant(
        "chunks-shifted",
        {f"{MODULE}:{CLASS}._process_image_input": _shift_chunks},
        "features go to the chunk after theirs: a wrong offset where pictures are split",
        kills=("dice/*/*/two-pictures",),
        families=OWN,
        survives={"relations": "every answer is wrong in the same way"},
    ),
    mutant(
        "cached-positions",
        {f"{MODULE}:{CLASS}.forward": _cached_positions},
        "after a prefix-cache hit the positions are off by one: asked again, another answer",
        kills=("dice/*/*/picture", "dice/*/base/streamed", "dice/*/*/two-pictures"),
        families=OWN,
        survives={"relations": "relations empty the caches between their questions"},
    ),
)
