"""Worker job: versions of the interpreter and the packages that decide a built file's bytes."""

import platform
from importlib import metadata
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "safetensors", "tokenizers")


def run() -> dict[str, Any]:
    """{"python": version, "packages": {name: version, or None where it is not installed}}."""
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
