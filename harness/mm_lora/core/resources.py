"""Where the project's files are: in a checkout, in a wheel, and in the user's cache."""

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


def _data(name: str) -> Path:
    """The folder `name` of the wheel (in the package) or of the checkout (two folders up)."""
    inside_wheel = _PACKAGE / name
    return inside_wheel if inside_wheel.is_dir() else _CHECKOUT / name


def fixtures_dir() -> Path:
    """Published configs, profiles, known defects and the chat template."""
    return _data("fixtures")


def cases_dir() -> Path:
    """The verification suite: pytest modules."""
    return _data("cases")


def harness_dir() -> Path:
    """The folder that makes `import mm_lora` work in a process of another interpreter."""
    return _PACKAGE.parent


def cache_dir() -> Path:
    """Built checkpoints, adapters and environments; `MM_LORA_CACHE` moves it."""
    named = os.environ.get("MM_LORA_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "mm-lora"
