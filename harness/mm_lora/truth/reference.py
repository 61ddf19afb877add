"""The reference's numbers for one answer: asked of the worker once, then kept in the cache."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mm_lora.core.asking import Request
from mm_lora.core.cache import Values, folder_key, source_key
from mm_lora.core.errors import BuildError
from mm_lora.core.images import picture_png
from mm_lora.core.interpreters import facts
from mm_lora.core.resources import harness_dir
from mm_lora.truth.worker_client import WorkerClient

_SOURCES = ("reference", "merging", "mistakes", "routing", "sparse_experts")

QK_ROWS = "language-qk-rows-not-permuted"
"""Foreseen for every vLLM: known from before this tool, and not yet mended anywhere."""


@dataclass(frozen=True, kw_only=True)
class Forced:
    """Teacher-forced logprobs, one a token of the answer (natural log, fp32).

    `adapted`: with the adapter merged (the base itself, where none was asked); `base`: without.
    `token_ids`: the answer. `predicted`: by the name of a predictor of a wrong value, what it
    foresees. `ties`: what `adapted` may be as well, where rounding alone decides which expert a
    token gets (`worker.routing`). `peft`: by PEFT's own forward, where it was asked for.
    """

    token_ids: tuple[int, ...]
    adapted: tuple[float, ...]
    base: tuple[float, ...]
    prompt_tokens: int
    predicted: Mapping[str, tuple[tuple[float, ...], ...]]
    ties: tuple[tuple[float, ...], ...] = ()
    peft: tuple[float, ...] = ()


class Reference:
    """transformers in the worker's process. Asks it only when the cache has no answer.

    `predictors`: names of the known mistakes whose wrong values a check may ask for.
    """

    def __init__(self, worker: WorkerClient, predictors: Sequence[str] = (QK_ROWS,)) -> None:
        self._worker = worker
        self._predictors = list(predictors)
        self._versions: list[Any] | None = None
        self._kept = Values("reference", Forced)
        self._checkpoints: dict[Path, str] = {}  # as they were when this run first asked

    def forced(
        self,
        *,
        checkpoint: Path,
        adapter: Path | None,
        request: Request,
        token_ids: tuple[int, ...] | None,
        predict: bool = False,
        peft: bool = False,
    ) -> Forced:
        """Logprobs of `token_ids` after the prompt of `request`.

        `adapter`: the folder to merge, None for the base. `token_ids` None: of the answer that the
        reference gives itself, greedily; it is then known for that answer too, so that a server
        that says the same needs no second computation. `peft`: PEFT's own forward as well.
        Raises BuildError when the worker fails.
        """
        question: dict[str, Any] = {
            "text": request.text,
            "pictures": [
                base64.b64encode(picture_png(picture)).decode("ascii")
                for picture in request.pictures
            ],
            "count": request.max_tokens,
            "predict": self._predictors if predict else [],
            "peft": peft,
        }
        digest = _digest(adapter) if adapter else None
        subject = [question, [self._checkpoint_key(checkpoint), digest, self._made_by()]]
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

    def _checkpoint_key(self, folder: Path) -> str:
        if folder not in self._checkpoints:
            self._checkpoints[folder] = folder_key(folder)
        return self._checkpoints[folder]

    def _made_by(self) -> list[Any]:
        if self._versions is None:
            found = facts(self._worker.python)
            folder = harness_dir() / "mm_lora" / "truth" / "worker"
            sources = source_key(*(folder / f"{name}.py" for name in _SOURCES))
            self._versions = [found.torch, found.transformers, sources]
        return self._versions


def _forced(answer: Mapping[str, Any]) -> Forced:
    try:
        return msgspec.convert({**answer, "peft": answer["peft"] or ()}, Forced)
    except (KeyError, msgspec.ValidationError) as error:
        raise BuildError(f"the reference's answer is of another shape: {error}") from error


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update(name.encode())
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()
