"""`Counting`: what the real processor makes of pictures, from its token ids and its pixels."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

Spans = Sequence[Sequence[str]]
"""The tokens of each picture of a prompt, placeholders and markers."""

ORIENTATION = 0x0112
"""The EXIF tag."""


class Counting:
    """The part of a family's torch side that counts; a subclass says how its prompts look."""

    apart: ClassVar[str] = ""
    """A token to put between the pictures of a prompt, where no marker tells where one ends."""
    markers: ClassVar[tuple[str, str]] = ("", "")
    """The first and the last token of each picture, where there is no such token."""

    def processor(self, checkpoint: str) -> Any:
        """transformers' processor of a checkpoint's folder."""
        raise NotImplementedError

    def counting(self, folder: Path, layout: Mapping[str, Any]) -> Any:
        """The real processor to count with; `folder` has tokenizer and processor files."""
        return self.processor(str(folder))

    def prompt_counts(
        self, processor: Any, prompt: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """What the processor makes of each picture of one prompt, from the token ids and the
        pixels' shapes: {"name", quantity: number}, the quantities named as in `Flow.as_json`."""
        pictures = [as_loaded(picture) for picture in prompt]
        shown, placeholder = self.picture_tokens(processor)
        outcome = processor(
            text=self.prompt_text(shown, len(prompt)),
            images=pictures,
            add_special_tokens=False,
            return_tensors="pt",
        )
        ids = outcome["input_ids"][0].tolist()
        spans = self.spans(processor.tokenizer.convert_ids_to_tokens(ids))
        seen = self.seen(processor, outcome, spans, pictures)
        if not len(spans) == len(seen) == len(prompt):
            raise RuntimeError(f"{len(prompt)} pictures became {len(spans)} and {len(seen)}")
        return [
            {
                "name": picture["name"],
                **numbers,
                "image_tokens": span.count(placeholder),
                "prompt_tokens": len(span),
            }
            for picture, numbers, span in zip(prompt, seen, spans, strict=True)
        ]

    def picture_tokens(self, processor: Any) -> tuple[str, str]:
        """What stands for a picture in a prompt's text, and the token that the processor makes of
        it, once for each row of the language model."""
        return processor.image_token, processor.image_token

    def prompt_text(self, shown: str, count: int) -> str:
        """A prompt of so many pictures, without a word; `shown` stands for one."""
        return self.apart.join([shown] * count)

    def spans(self, tokens: Sequence[str]) -> Spans:
        """The tokens of each picture."""
        return between(tokens, self.apart) if self.apart else framed(tokens, *self.markers)

    def seen(
        self, processor: Any, outcome: Any, spans: Spans, pictures: Sequence[Any]
    ) -> Sequence[Mapping[str, int]]:
        """The quantities of each picture that are no tokens, from what the processor gave.

        Raises RuntimeError where its pixels and its tokens contradict each other.
        """
        raise NotImplementedError

    def video_counts(self, processor: Any, video: Mapping[str, Any]) -> dict[str, Any]:
        """The same of a video alone: {"name", "width", "height", "frames"}, all frames kept."""
        raise NotImplementedError


def require_tiles(tiles: Sequence[int], pixels: int) -> None:
    """Raise RuntimeError where the tiles of a prompt's pictures are not those of the `pixels`."""
    if sum(tiles) != pixels:
        raise RuntimeError(f"{list(tiles)} tiles in the prompt, and {pixels} tiles of pixels")


def between(tokens: Sequence[str], apart: str) -> list[list[str]]:
    """The tokens between those that are `apart`: of each picture, where it parts placeholders."""
    spans: list[list[str]] = [[]]
    for token in tokens:
        if token == apart:
            spans.append([])
        else:
            spans[-1].append(token)
    return spans


def framed(tokens: Sequence[str], start: str, end: str) -> list[list[str]]:
    """The tokens of each picture, from its `start` token to its `end` token."""
    starts = [at for at, token in enumerate(tokens) if token == start]
    ends = [at for at, token in enumerate(tokens) if token == end]
    return [list(tokens[first : last + 1]) for first, last in zip(starts, ends, strict=True)]


def as_loaded(picture: Mapping[str, Any]) -> Any:
    """A picture as transformers loads a file: PNG with EXIF, read by its `load_image`."""
    from PIL import Image
    from transformers.image_utils import load_image

    image = Image.new(picture["mode"], (picture["width"], picture["height"]))
    exif = Image.Exif()
    exif[ORIENTATION] = picture["orientation"]
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif, compress_level=0)
    with Image.open(file) as stored:
        return load_image(stored)
