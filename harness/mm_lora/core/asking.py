"""Requests to a server and its answers, as plain, hashable values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

BASE = "base"
"""The served name of the base model: no adapter and no MODEL is called that."""

DICE_QUESTION = "Which numbers do the four dice show, and in which colours?"
TEXT_QUESTION = "Name a number between one and six."


class Shown:
    """What most requests show: a picture; where the model takes none, a sound or a video.

    `medium`: its kind, as vLLM calls it.
    """

    medium: ClassVar[str]

    @property
    def label(self) -> str:
        """Short and unique among one check's media."""
        raise NotImplementedError

    @classmethod
    def shape_of(cls, data: Any) -> "type[Shown]":
        """Which of them was stored as that plain data."""
        told: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        return Sound if "samples" in told else Video if "frames" in told else Picture


@dataclass(frozen=True, kw_only=True)
class Picture(Shown):
    """A picture to draw: `kind` is one of images.KINDS, size in pixels."""

    medium: ClassVar[str] = "image"
    width: int
    height: int
    kind: str = "dice"
    seed: int = 0

    @property
    def label(self) -> str:
        """Short and unique among one check's pictures, for example `dice-336x336`."""
        tail = f"-{self.seed}" if self.seed else ""
        return f"{self.kind}-{self.width}x{self.height}{tail}"


@dataclass(frozen=True, kw_only=True)
class Video(Shown):
    """A video to draw: `frames` pictures of one kind and size in pixels, each with another seed."""

    medium: ClassVar[str] = "video"
    width: int
    height: int
    frames: int = 4
    kind: str = "dice"
    seed: int = 0

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Its frames, in their order."""
        return tuple(
            Picture(width=self.width, height=self.height, kind=self.kind, seed=self.seed + at)
            for at in range(self.frames)
        )

    @property
    def label(self) -> str:
        """Short and unique among one check's media, for example `dice-112x112x4`."""
        tail = f"-{self.seed}" if self.seed else ""
        return f"{self.kind}-{self.width}x{self.height}x{self.frames}{tail}"


@dataclass(frozen=True, kw_only=True)
class Sound(Shown):
    """A sound to make: `kind` is one of sounds.KINDS, `samples` of them, `rate` in a second."""

    medium: ClassVar[str] = "audio"
    samples: int
    rate: int = 16000
    kind: str = "tones"
    seed: int = 0

    @property
    def label(self) -> str:
        """Short and unique among one check's media, for example `tones-24000x16000`."""
        tail = f"-{self.seed}" if self.seed else ""
        return f"{self.kind}-{self.samples}x{self.rate}{tail}"


Medium = Picture | Video
"""What is seen."""

Encoded = Shown
"""Whatever an encoder is given."""


@dataclass(frozen=True)
class Embeds:
    """A picture's rows as the language model reads them. `file`: .npy, [tokens, hidden].
    `beside`: whole numbers that vLLM's class wants with them, by name."""

    file: str
    beside: tuple[tuple[str, tuple[int, ...]], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Request:
    """One chat completion: greedy, `max_tokens` tokens whatever they are (`ignore_eos`).

    `model` is a served name: the base model or an adapter. `top`: so many of the likeliest tokens
    come with the logprob of each token (at most 20, vLLM's own limit). `pictures` are sounds or
    videos where the model takes no pictures. `seed`: sampled from it at temperature 1, among the 20
    likeliest. `answers`: how many are wanted; `beams`: those of a beam search. `prompt_logprobs`:
    of each token of the prompt as well. `prompt`: token ids that /v1/completions gets in place of
    the chat, whose tokens they are. `responses`: asked of /v1/responses. `uuid`: by which the
    server is to know the media; where it does so already, they come without `pixels`. `embeds`:
    what is sent in the place of the only picture. `engine`: of several with data parallelism, the
    one that is to answer.
    """

    model: str
    text: str = DICE_QUESTION
    pictures: tuple[Shown, ...] = ()
    videos: tuple[Video, ...] = ()
    max_tokens: int = 16
    stream: bool = False
    top: int = 1
    seed: int | None = None
    answers: int = 1
    beams: bool = False
    prompt_logprobs: bool = False
    prompt: tuple[int, ...] = ()
    responses: bool = False
    uuid: str = ""
    pixels: bool = True
    embeds: Embeds | None = None
    engine: int | None = None

    @property
    def media(self) -> tuple[Encoded, ...]:
        """Everything that is encoded, in the order of the prompt: pictures, then videos."""
        return (*self.pictures, *self.videos)

    def asking(self, model: str) -> "Request":
        """The same question put to another adapter."""
        return replace(self, model=model)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answer as the server gave it; `logprobs` has one natural-log value a token.

    `id` is the server's name of the request: the probe's records bear it.
    """

    model: str
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str
    status: int = 200
    id: str = ""
    raw: Mapping[str, Any] | None = None

    def first_logprobs(self) -> dict[str, float]:
        """Token → logprob of the likeliest ones at the answer's first place, as many as asked.

        Nothing of a streamed answer, whose parts are not kept.
        """
        for choice in (self.raw or {}).get("choices", ()):
            first = choice["logprobs"]["content"][0]
            return {entry["token"]: entry["logprob"] for entry in first["top_logprobs"]}
        return {}

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The tokens of the prompt, placeholders of media included; nothing where it is not told
        (vLLM tells it, streamed answers aside)."""
        raw = self.raw or {}
        first: Mapping[str, Any] = next(iter(raw.get("choices") or ()), {})
        return tuple(raw.get("prompt_token_ids") or first.get("prompt_token_ids") or ())

    def prompt_logprobs(self) -> tuple[float, ...]:
        """One logprob for each token of the prompt but the first, where they were asked for."""
        places = ((self.raw or {}).get("prompt_logprobs") or ())[1:]
        found = []
        for token, place in zip(self.prompt_ids[1:], places, strict=False):
            found.append(float((place or {}).get(str(token), {}).get("logprob", math.nan)))
        return tuple(found)

    def problems(self, request: Request, prompt_tokens: int | None) -> list[str]:
        """What makes this answer invalid for `request`; an empty list when it is valid.

        `prompt_tokens` is the expected prompt length in tokens, None where it is not known.
        """
        found = []
        if self.status != 200:
            said = str((self.raw or {}).get("error") or "")[:200]
            found.append(f"HTTP {self.status}: {said}".removesuffix(": "))
        if self.model != request.model:
            found.append(f"answered by model {self.model!r}, asked {request.model!r}")
        if not self.text.strip():
            found.append("empty text")
        if not self.logprobs or not all(math.isfinite(value) for value in self.logprobs):
            found.append("a logprob is missing or not finite")
        if len(self.logprobs) != request.max_tokens:
            found.append(f"{len(self.logprobs)} tokens, asked for {request.max_tokens}")
        if prompt_tokens is not None and self.prompt_tokens != prompt_tokens:
            found.append(f"{self.prompt_tokens} prompt tokens, expected {prompt_tokens}")
        return found
