"""Where the hub's cache keeps a model repository on this disk."""

import os
from collections.abc import Mapping
from pathlib import Path

from mm_lora.core.weight_index import indexed_files

Environment = Mapping[str, str]


def cache_folder(environment: Environment = os.environ) -> Path:
    """The hub's cache on this machine, as huggingface_hub finds it."""
    named = environment.get("HF_HUB_CACHE")
    home = environment.get("HF_HOME") or "~/.cache/huggingface"
    return Path(named or f"{home}/hub").expanduser()


def snapshot(repository: str, revision: str = "", cache: Path | None = None) -> Path | None:
    """The folder of a downloaded repository; None where it, or one of its weights, is not there."""
    kept = (cache or cache_folder()) / f"models--{repository.replace('/', '--')}"
    try:
        commit = (kept / "refs" / (revision or "main")).read_text(encoding="utf-8").strip()
    except OSError:
        commit = revision
    folder = kept / "snapshots" / commit
    if not commit or not (folder / "config.json").is_file():
        return None
    try:
        named = indexed_files(folder) or ["model.safetensors"]
    except (OSError, ValueError):
        return None
    return folder if all((folder / name).is_file() for name in named) else None
