"""Turns a MODEL of the command line into its config, its geometry and their source."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mm_lora.core import hub_cache, typed
from mm_lora.core.errors import UsageError
from mm_lora.core.resources import fixtures_dir
from mm_lora.families.llama4.geometry import MAX_CHUNKS, Geometry

PUBLISHED = ("scout", "maverick", "pr35147")
REPOSITORIES: Mapping[str, str] = {
    "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8": "scout",
    "nvidia/Llama-4-Maverick-17B-128E-Instruct-FP8": "maverick",
}
"""Repositories with real weights → the published model that each is, by which its checks go."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A MODEL: its whole `config.json` as published, not the miniature's.

    `source` labels its numbers in every report; `known` says how well they are known. `path` is
    the folder that the user named, or that a downloaded repository has; None for a published model
    and for a config file alone. `repository`: where real weights are to be had, at `revision`.
    """

    name: str
    source: str
    config: Mapping[str, Any]
    geometry: Geometry
    known: str = ""
    path: Path | None = None
    repository: str = ""
    revision: str = ""

    @property
    def is_real(self) -> bool:
        """Whether real weights are served, here or once they are downloaded: no miniature."""
        return bool(self.repository) or self.weights is not None

    @property
    def speaks(self) -> bool:
        """Whether its words have a meaning: real weights of a full model, not a miniature's."""
        return self.is_real and self.config.get("text_config", {}).get("hidden_size", 0) >= 1024

    @property
    def weights(self) -> Path | None:
        """The user's folder if it holds a checkpoint, None if there is only a config."""
        path = self.path
        if path is not None and any(any(path.glob(pattern)) for pattern in _WEIGHTS):
            return path
        return None


def resolve(model: str, revision: str = "") -> Model:
    """The published model of that name, the user's own config.json or model folder, or a repository
    that is known or already downloaded.

    Raises UsageError for an unknown name, a folder without config.json, and what is no Llama 4.
    """
    if model in PUBLISHED:
        return _published(model)
    path = Path(model).expanduser()
    if not path.exists() and _REPOSITORY.fullmatch(model):
        return _of_repository(model, revision)
    if not path.exists():
        raise UsageError(
            f"no model '{model}'",
            f"one of {', '.join(PUBLISHED)}, or the path of a config.json or model folder",
        )
    return _own(path)


@dataclass(frozen=True)
class _Published:
    """A file of fixtures/configs."""

    name: str
    source: str
    known: str
    max_chunks: int
    config: Mapping[str, Any]


def _published(name: str) -> Model:
    data = typed.read_json(fixtures_dir() / "configs" / f"{name}.json", _Published)
    return Model(
        name=name,
        source=data.source,
        known=data.known,
        config=data.config,
        geometry=Geometry.from_config(data.config, max_chunks=data.max_chunks),
    )


def _of_repository(repository: str, revision: str) -> Model:
    """From its own config once it is downloaded; before that from the published one."""
    name = REPOSITORIES.get(repository)
    folder = hub_cache.snapshot(repository, revision)
    if folder is not None:
        own = _own(folder)
        source = f"the config.json of {repository}"
        return replace(
            own,
            name=name or repository.rpartition("/")[2],
            source=source,
            repository=repository,
            revision=revision,
        )
    if name is None:
        raise UsageError(
            f"the model {repository} is not on this disk and its config is not known here",
            f"one of {', '.join(REPOSITORIES)}, or a folder that has it",
        )
    return replace(_published(name), repository=repository, revision=revision)


def _own(path: Path) -> Model:
    folder = path if path.is_dir() else path.parent
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise UsageError(
            f"the model folder {path} has no config.json",
            "that it is a whole model folder, as transformers' save_pretrained writes it",
        )
    config = _read(file)
    try:
        geometry = Geometry.from_config(config, max_chunks=_max_chunks(folder))
    except UsageError as error:
        raise UsageError(f"{file}: {error.what}", error.check) from None
    return Model(
        name=folder.resolve().name if file.name == "config.json" else file.stem,
        source=f"the user's {file.name}",
        known="as the file says",
        config=config,
        geometry=geometry,
        path=folder.resolve() if path.is_dir() else None,
    )


def _max_chunks(folder: Path) -> int:
    """`max_patches` of the folder's image processor; the published 16 where it has none."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            data = _read(folder / name)
            nested = data.get("image_processor")
            for settings in (data, nested):
                if isinstance(settings, Mapping) and "max_patches" in settings:
                    found: int = settings["max_patches"]  # Geometry checks it
                    return found
    return MAX_CHUNKS


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", "it must hold a JSON object") from None
    if not isinstance(data, dict):
        raise UsageError(f"{file} holds no JSON object", "the file's content")
    return data
