"""The reference's numbers for one answer: asked of the worker once, then kept in the cache."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mm_lora.adapters.files import CONFIG, WEIGHTS
from mm_lora.core.asking import Embeds, Encoded, Picture, Request, Sound, Video
from mm_lora.core.cache import Values, folder_key, source_key
from mm_lora.core.errors import BuildError
from mm_lora.core.images import frame_jpeg, picture_png
from mm_lora.core.interpreters import facts
from mm_lora.core.resources import harness_dir
from mm_lora.core.sounds import sound_wav
from mm_lora.truth.worker_client import WorkerClient

_SOURCES = (
    *(f"truth/worker/{name}.py" for name in ("reference", "merging", "mistakes", "vision_memo")),
    "families/torch_side.py",
)


@dataclass(frozen=True, kw_only=True)
class Forced:
    """Teacher-forced logprobs, one a token of the answer (natural log, fp32).

    `adapted`: with the adapter merged (the base itself, where none was asked); `base`: without.
    `token_ids`: the answer; `prompt_ids`: the prompt, placeholders of media included. Where the
    request asks for it, each list begins with the prompt's tokens but the first. `predicted`: by
    the name of a predictor of a wrong value, what it computes. `mistaken`, `mistaken_bases`: what
    `adapted` and `base` become where the base itself has a known defect. `ties`: what `adapted` may
    be as well, where rounding alone decides which expert a token gets (`worker.routing`). `peft`:
    by PEFT's own forward, where it was asked for.
    """

    token_ids: tuple[int, ...]
    adapted: tuple[float, ...]
    base: tuple[float, ...]
    prompt_tokens: int
    predicted: Mapping[str, tuple[tuple[float, ...], ...]]
    mistaken: tuple[tuple[float, ...], ...] = ()
    mistaken_bases: tuple[tuple[float, ...], ...] = ()
    ties: tuple[tuple[float, ...], ...] = ()
    peft: tuple[float, ...] = ()
    prompt_ids: tuple[int, ...] = ()

    @property
    def rights(self) -> tuple[tuple[float, ...], ...]:
        """What a server may answer where a known defect of the base is judged elsewhere."""
        return (self.adapted, *self.mistaken)

    @property
    def bases(self) -> tuple[tuple[float, ...], ...]:
        """What its base may answer."""
        return (self.base, *self.mistaken_bases)


class Reference:
    """transformers in the worker's process. Asks it only when the cache has no answer.

    `predictors`: names of the known mistakes whose wrong values a check may ask for.
    """

    def __init__(self, worker: WorkerClient, predictors: Sequence[str] = ()) -> None:
        self._worker = worker
        self._predictors = list(predictors)
        self._versions: dict[str, list[Any]] = {}
        self._kept = Values("reference", Forced)
        self._checkpoints: dict[Path, str] = {}  # as they were when this run first asked

    def forced(
        self,
        *,
        side: str,
        checkpoint: Path,
        adapter: Path | None,
        request: Request,
        token_ids: tuple[int, ...] | None,
        predict: bool = False,
        peft: bool = False,
        predictors: Sequence[str] = (),
        base_predictors: Sequence[str] = (),
    ) -> Forced:
        """Logprobs of `token_ids` after the prompt of `request`, and of the prompt if it asks so.

        `side`: the family's torch side. `adapter`: the folder to merge, None for the base.
        `token_ids` None: of the answer that the reference gives itself, greedily; it is then known
        for that answer too, so that a server that says the same needs no second computation.
        `peft`: PEFT's own forward as well. `predictors`: the family's own;
        `base_predictors`: of its base, of which those are asked that this vLLM is known for.
        Raises BuildError when the worker fails.
        """
        question: dict[str, Any] = {
            "text": request.text,
            "side": side,
            "media": [_as_json(medium) for medium in request.media],
            "count": request.max_tokens,
            "predict": list(dict.fromkeys((*predictors, *self._predictors))) if predict else [],
            "peft": peft,
        }
        met = [name for name in base_predictors if name in self._predictors]
        if met:
            question["predict_base"] = met
        if request.prompt_logprobs:
            question["prompt"] = True
        digest = _digest(adapter) if adapter else None
        subject = [question, [self._checkpoint_key(checkpoint), digest, self._made_by(side)]]
        told = None if token_ids is None else list(token_ids)
        value = self._kept.read([*subject, told])
        if value is None:
            answer = self._worker.call(
                "reference",
                checkpoint=str(checkpoint),
                adapter=str(adapter) if adapter else None,
                token_ids=told,
                **question,
            )
            value = _forced(answer)
            self._kept.write([*subject, told], value)
            if told is None:
                self._kept.write([*subject, list(value.token_ids)], value)
        return value

    def embeds(
        self,
        *,
        side: str,
        checkpoint: Path,
        adapter: Path | None,
        request: Request,
        beside: Sequence[str],
        file: Path,
    ) -> Embeds:
        """The rows of the request's picture as tower and connector with the adapter make them.

        `beside`: the names of what the processor says of the picture and vLLM's class wants too;
        `file`: where the rows are written. Raises BuildError when the worker fails.
        """
        answer = self._worker.call(
            "embeds",
            side=side,
            checkpoint=str(checkpoint),
            adapter=str(adapter) if adapter else None,
            text=request.text,
            media=[_as_json(medium) for medium in request.media],
            beside=list(beside),
            file=str(file),
        )
        told = tuple((name, tuple(numbers)) for name, numbers in answer["beside"].items())
        return Embeds(str(file), told)

    def _checkpoint_key(self, folder: Path) -> str:
        if folder not in self._checkpoints:
            self._checkpoints[folder] = folder_key(folder)
        return self._checkpoints[folder]

    def _made_by(self, side: str) -> list[Any]:
        if side not in self._versions:
            found = facts(self._worker.python)
            package = harness_dir() / "mm_lora"
            family = package.parent.joinpath(*side.split(".")[:-1])
            files = [*(package / name for name in _SOURCES), *sorted(family.glob("*.py"))]
            self._versions[side] = [found.torch, found.transformers, source_key(*files)]
        return self._versions[side]


def _as_json(medium: Encoded) -> dict[str, Any]:
    """A medium as the worker takes it: kind and the bytes of its files, as base64."""
    if isinstance(medium, Video):
        return {"kind": "video", "files": [_text(frame_jpeg(frame)) for frame in medium.pictures]}
    if isinstance(medium, Sound):
        return {"kind": "audio", "files": [_text(sound_wav(medium))]}
    assert isinstance(medium, Picture)
    return {"kind": "image", "files": [_text(picture_png(medium))]}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _forced(answer: Mapping[str, Any]) -> Forced:
    try:
        return msgspec.convert({**answer, "peft": answer["peft"] or ()}, Forced)
    except (KeyError, msgspec.ValidationError) as error:
        raise BuildError(f"the reference's answer is of another shape: {error}") from error


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in (CONFIG, WEIGHTS):
        digest.update(name.encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
