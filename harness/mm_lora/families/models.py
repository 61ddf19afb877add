"""Turns a MODEL of the command line into its config, its family's layout and their source."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mm_lora.core import hub_cache
from mm_lora.core.errors import UsageError
from mm_lora.families import registry
from mm_lora.families.family import Family

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin*")


@dataclass(frozen=True, kw_only=True)
class Model:
    """A MODEL: its whole `config.json` as published, not the miniature's.

    `layout`: the family's numbers that decide token counts. `source` labels its numbers in every
    report; `known` says how well they are known. `path` is the folder that the user named, or that
    a downloaded repository has; None for a published model and for a config file alone.
    `repository`: where real weights are to be had, at `revision`.
    """

    name: str
    source: str
    config: Mapping[str, Any]
    family: Family
    layout: Any
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
        text = self.config.get("text_config") or self.config
        return self.is_real and text.get("hidden_size", 0) >= 1024

    @property
    def weights(self) -> Path | None:
        """The user's folder if it holds a checkpoint, None if there is only a config."""
        path = self.path
        if path is not None and any(any(path.glob(pattern)) for pattern in _WEIGHTS):
            return path
        return None


def resolve(model: str, revision: str = "") -> Model:
    """The published model of that name, a family's default, the user's own config.json or model
    folder, or a repository that is known or already downloaded.

    Raises UsageError for an unknown name, a folder without config.json, and what is of no family.
    """
    if model in registry.published():
        return _published(model)
    if model in registry.families():
        return _published(registry.family(model).published[0])
    path = Path(model).expanduser()
    if not path.exists() and _REPOSITORY.fullmatch(model):
        return _of_repository(model, revision)
    if not path.exists():
        raise UsageError(
            f"no model '{model}'",
            f"one of {', '.join(registry.published())}, or the path of a config.json or model "
            "folder",
        )
    return _own(path)


def _published(name: str) -> Model:
    family = registry.published()[name]
    data = family.published_config(name)
    return Model(
        name=name,
        source=data["source"],
        known=data["known"],
        config=data["config"],
        family=family,
        layout=family.published_layout(data),
    )


def _of_repository(repository: str, revision: str) -> Model:
    """From its own config once it is downloaded; before that from the published one."""
    name = registry.repositories().get(repository)
    folder = hub_cache.snapshot(repository, revision)
    if folder is not None:
        return replace(
            _own(folder),
            name=name or repository.rpartition("/")[2],
            source=f"the config.json of {repository}",
            repository=repository,
            revision=revision,
        )
    if name is None:
        raise UsageError(
            f"the model {repository} is not on this disk and its config is not known here",
            f"one of {', '.join(registry.repositories())}, or a folder that has it",
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
        family = registry.family_of(config)
        layout = family.layout(config, folder)
    except UsageError as error:
        raise UsageError(f"{file}: {error.what}", error.check) from None
    return Model(
        name=folder.resolve().name if file.name == "config.json" else file.stem,
        source=f"the user's {file.name}",
        known="as the file says",
        config=config,
        family=family,
        layout=layout,
        path=folder.resolve() if path.is_dir() else None,
    )


def _read(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} cannot be read: {error}", "it must hold a JSON object") from None
    if not isinstance(data, dict):
        raise UsageError(f"{file} does not hold a JSON object", "the file's content")
    return data
