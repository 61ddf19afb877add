"""The reference's numbers for one answer: asked of the worker once, then kept in the cache."""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core import cache
from mm_lora.core.asking import Medium, Picture, Request
from mm_lora.core.images import frame_jpeg, picture_png
from mm_lora.core.interpreters import facts
from mm_lora.core.resources import cache_dir, harness_dir
from mm_lora.truth.worker_client import WorkerClient

_SOURCES = (
    *(f"truth/worker/{name}.py" for name in ("reference", "merging", "mistakes")),
    "families/torch_side.py",
)


@dataclass(frozen=True, kw_only=True)
class Forced:
    """Teacher-forced logprobs, one a token of the answer (natural log, fp32).

    `adapted`: with the adapter merged (the base itself, where none was asked); `base`: without.
    `token_ids`: the answer. `predicted`: by the name of a predictor of a wrong value, what it
    foresees. `mistaken`, `mistaken_bases`: what `adapted` and `base` become where the base itself
    has a known defect. `ties`: what `adapted` may be as well, where rounding alone decides which
    expert a token gets (`worker.routing`). `peft`: by PEFT's own forward, where it was asked for.
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
        """Logprobs of `token_ids` after the prompt of `request`.

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
        met = [name for name in base_predictors if name in self._predictors and request.media]
        if met:
            question["predict_base"] = met
        subject = [checkpoint.name, _digest(adapter) if adapter else None, self._made_by(side)]
        file = _file(question, subject, token_ids)
        value = _read(file)
        if value is None:
            value = self._worker.call(
                "reference",
                checkpoint=str(checkpoint),
                adapter=str(adapter) if adapter else None,
                token_ids=None if token_ids is None else list(token_ids),
                **question,
            )
            _write(file, value)
            if token_ids is None:
                _write(_file(question, subject, value["token_ids"]), value)
        return Forced(
            token_ids=tuple(value["token_ids"]),
            adapted=tuple(value["adapted"]),
            base=tuple(value["base"]),
            prompt_tokens=value["prompt_tokens"],
            ties=tuple(tuple(v) for v in value["ties"]),
            predicted={n: tuple(map(tuple, several)) for n, several in value["predicted"].items()},
            mistaken=tuple(map(tuple, value["mistaken"])),
            mistaken_bases=tuple(map(tuple, value["mistaken_bases"])),
            peft=tuple(value["peft"] or ()),
        )

    def _made_by(self, side: str) -> list[Any]:
        if side not in self._versions:
            found = facts(self._worker.python)
            package = harness_dir() / "mm_lora"
            family = package.parent.joinpath(*side.split(".")[:-1])
            files = [*(package / name for name in _SOURCES), *sorted(family.glob("*.py"))]
            self._versions[side] = [found.torch, found.transformers, cache.source_key(*files)]
        return self._versions[side]


def _as_json(medium: Medium) -> dict[str, Any]:
    """A medium as the worker takes it: kind and the bytes of its files, as base64."""
    if isinstance(medium, Picture):
        return {"kind": "image", "files": [_text(picture_png(medium))]}
    return {"kind": "video", "files": [_text(frame_jpeg(frame)) for frame in medium.pictures]}


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _file(question: Mapping[str, Any], subject: list[Any], token_ids: Sequence[int] | None) -> Path:
    told = None if token_ids is None else list(token_ids)
    key = cache.content_key([question, subject, told])
    return cache_dir() / "reference" / f"{key}.json"


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update(name.encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def _read(file: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _write(file: Path, value: dict[str, Any]) -> None:
    """Best effort and atomic: a full disk costs time at the next run, not this run's answer."""
    fresh = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(value), encoding="utf-8")
        os.replace(fresh, file)
    except OSError:
        fresh.unlink(missing_ok=True)
