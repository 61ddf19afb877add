"""The reference's numbers for one answer: asked of the worker once, then kept in the cache."""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora import cache
from mm_lora.asking import Request
from mm_lora.client import picture_png
from mm_lora.environment import facts
from mm_lora.resources import cache_dir, harness_dir
from mm_lora.worker.client import WorkerClient


@dataclass(frozen=True, kw_only=True)
class Forced:
    """Teacher-forced logprobs, one a token of the answer (natural log, fp32).

    `adapted`: with the adapter merged (the base itself, where none was asked); `base`: without.
    `predicted`: by the name of a predictor of a wrong value, what it foresees.
    """

    adapted: tuple[float, ...]
    base: tuple[float, ...]
    prompt_tokens: int
    predicted: Mapping[str, tuple[float, ...]]


class Reference:
    """transformers in the worker's process. Asks it only when the cache has no answer."""

    def __init__(self, worker: WorkerClient) -> None:
        self._worker = worker
        self._versions: list[Any] | None = None

    def forced(
        self,
        *,
        checkpoint: Path,
        adapter: Path | None,
        request: Request,
        token_ids: tuple[int, ...],
        predict: bool = False,
    ) -> Forced:
        """Logprobs of `token_ids` after the prompt of `request`.

        `adapter`: the folder to merge, None for the base. Raises BuildError when the worker fails.
        """
        question: dict[str, Any] = {
            "text": request.text,
            "pictures": [
                base64.b64encode(picture_png(picture)).decode("ascii")
                for picture in request.pictures
            ],
            "token_ids": list(token_ids),
            "predict": predict,
        }
        key = cache.content_key(
            [question, checkpoint.name, _digest(adapter) if adapter else None, self._made_by()]
        )
        file = cache_dir() / "reference" / f"{key}.json"
        value = _read(file)
        if value is None:
            value = self._worker.call(
                "reference",
                checkpoint=str(checkpoint),
                adapter=str(adapter) if adapter else None,
                **question,
            )
            _write(file, value)
        return Forced(
            adapted=tuple(value["adapted"]),
            base=tuple(value["base"]),
            prompt_tokens=value["prompt_tokens"],
            predicted={name: tuple(v) for name, v in value["predicted"].items()},
        )

    def _made_by(self) -> list[Any]:
        if self._versions is None:
            found = facts(self._worker.python)
            source = harness_dir() / "mm_lora" / "worker" / "reference.py"
            self._versions = [found.torch, found.transformers, cache.source_key(source)]
        return self._versions


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
