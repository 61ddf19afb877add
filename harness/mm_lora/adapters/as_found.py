"""An adapter's folder as it is found, whole or not: its configuration and the heads of tensors."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm_lora.adapters.files import CONFIG, WEIGHTS
from mm_lora.adapters.tensors import Head, Tensor, heads, tensor
from mm_lora.core.errors import UsageError

INDEX = f"{WEIGHTS}.index.json"
PICKLES = ("adapter_model.bin", "adapter_model.pt")


@dataclass(frozen=True, kw_only=True)
class AsFound:
    """`config`: of adapter_config.json, empty with a `config_error`. `heads`: key → head, in the
    library's order; `files`: key → the file that has it. `sharded`: the tensors lie in several
    files with an index, which vLLM does not look at. `weights_error`: why there are none."""

    folder: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    config_error: str = ""
    heads: Mapping[str, Head] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    sharded: bool = False
    weights_error: str = ""

    def tensor(self, key: str) -> Tensor:
        """One tensor, read alone."""
        return tensor(self.files[key], self.heads[key])


def look(folder: Path) -> AsFound:
    """Reads the configuration and heads; no tensor. What is damaged is said, not raised.

    Raises UsageError for weights in a pickle, which would take torch to read.
    """
    config, config_error = _config(folder / CONFIG)
    pickled = [name for name in PICKLES if (folder / name).is_file()]
    weights = folder / WEIGHTS
    sharded, wrong = False, ""
    parts: list[Path] = []
    if weights.is_file() or weights.is_symlink():
        parts = [weights]
    elif pickled:
        raise UsageError(
            f"{folder / pickled[0]} is a pickle, which is not read here",
            f"save the adapter anew with peft: it writes {WEIGHTS}",
        )
    elif (folder / INDEX).is_file():
        sharded = True
        parts, wrong = _shards(folder)
    else:
        wrong = f"no {WEIGHTS}"
    found: dict[str, Head] = {}
    files: dict[str, Path] = {}
    try:
        for part in parts:
            for key, head in heads(part).items():
                found[key], files[key] = head, part
    except UsageError as error:
        wrong = error.what
    if parts and not found and not wrong:
        wrong = f"{WEIGHTS} has no tensors"
    return AsFound(
        folder=folder,
        config=config,
        config_error=config_error,
        heads=found,
        files=files,
        sharded=sharded,
        weights_error=wrong,
    )


def _config(file: Path) -> tuple[dict[str, Any], str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, f"no {CONFIG}"
    except (OSError, ValueError) as error:
        return {}, f"{CONFIG} cannot be read: {error}"
    return (content, "") if isinstance(content, dict) else ({}, f"{CONFIG} holds no JSON object")


def _shards(folder: Path) -> tuple[list[Path], str]:
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return [], f"{INDEX} cannot be read: {error!r}"
    missing = [name for name in names if not (folder / name).is_file()]
    return [folder / name for name in names], f"no {missing[0]}" if missing else ""
