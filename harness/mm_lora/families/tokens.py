"""The token arithmetic of a model for pictures, videos and sounds of any size."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mm_lora.core.asking import Encoded
from mm_lora.core.errors import UsageError
from mm_lora.core.typed import plain
from mm_lora.families.flow import Flow
from mm_lora.families.models import Model, resolve
from mm_lora.families.sizes import parse_sound, parse_video, picture
from mm_lora.families.tokens_document import OMITTED, ModelTokens, TokensDocument

DEFAULT_PICTURES = ("336x336", "700x400", "1344x1344", "5376x336")
DEFAULT_VIDEOS = ("1x336x336", "8x320x240", "32x1280x720")
DEFAULT_SOUNDS = ("8000", "16000", "105000", "480000")


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What media become in a model: rows of its layers, tokens of its prompt.

    `model`: its name. `source`: where its numbers come from. `geometry`: these numbers, by the
    family's names. `pictures`, `videos`, `sounds`: a `Flow` each, as they were asked about.
    """

    model: str
    source: str
    geometry: Mapping[str, Any]
    pictures: tuple[Flow, ...] = ()
    videos: tuple[Flow, ...] = ()
    sounds: tuple[Flow, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The document of `mm-lora tokens --json`."""
        told = ModelTokens(
            model=self.model,
            source=self.source,
            geometry=self.geometry,
            pictures=[flow.as_json() for flow in self.pictures],
            videos=[flow.as_json() for flow in self.videos] or OMITTED,
            sounds=[flow.as_json() for flow in self.sounds] or OMITTED,
        )
        document: dict[str, Any] = plain(TokensDocument(models=[told]))
        return document


def tokens(
    model: str,
    *,
    images: Sequence[str] = (),
    videos: Sequence[str] = (),
    sounds: Sequence[str] = (),
) -> Tokens:
    """Compute the rows and tokens of media in a model, as `mm-lora tokens` does.

    `model`: a published model, a family, or the path of a config.json or a model folder. `images`:
    sizes in pixels, `WIDTHxHEIGHT`. `videos`: `FRAMESxWIDTHxHEIGHT`, by the frames that the model
    sees. `sounds`: samples, or `SAMPLESxRATE`. Some telling media if all are empty.
    Raises UsageError for an unknown model, a wrong size, or media that the model does not take.
    """
    return tokens_of(resolve(model), images, videos, sounds)


def tokens_of(
    model: Model, images: Sequence[str], videos: Sequence[str], sounds: Sequence[str]
) -> Tokens:
    """As `tokens`, of a model that is known already."""
    family = model.family
    asked = {"image": images, "video": videos, "audio": sounds}
    for kind, sizes in asked.items():
        if sizes and kind not in family.media:
            named = {"image": "pictures", "video": "videos", "audio": "sounds"}[kind]
            taken = ", ".join(family.media)
            raise UsageError(f"{model.name} takes no {named}", f"media: {taken}")
    if not any(asked.values()):
        if "image" in family.media:
            images = DEFAULT_PICTURES
        elif "video" in family.media:
            videos = DEFAULT_VIDEOS
        else:
            sounds = DEFAULT_SOUNDS

    def flows(media: Sequence[Encoded]) -> tuple[Flow, ...]:
        return tuple(family.flow(model.layout, medium) for medium in media)

    return Tokens(
        model=model.name,
        source=_source(model),
        geometry=asdict(model.layout),
        pictures=flows([picture(size) for size in images]),
        videos=flows([parse_video(size) for size in videos]),
        sounds=flows([parse_sound(length) for length in sounds]),
    )


def _source(model: Model) -> str:
    """Where the numbers come from; says so where they are no published checkpoint's."""
    note = model.family.source_note(model.layout)
    return f"{model.source}; {note}" if note and note not in model.source else model.source
