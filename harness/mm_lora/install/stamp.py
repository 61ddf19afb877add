"""The stamp in an environment: what it was made from, so that a second call does nothing."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "mm-lora-setup.json"


@dataclass(frozen=True)
class Stamp:
    """state: `making` from the first moment on (it may be started over), `ready` when all is in."""

    state: str
    key: str
    recipe: str


def key(files: Iterable[Path], interpreter: str, project: Path) -> str:
    """A digest of the pins' content, the interpreter (path, version) and the project's place."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    digest.update(f"{interpreter}\0{project}".encode())
    return digest.hexdigest()


def read(folder: Path) -> Stamp | None:
    """The stamp of an environment, None where there is none that can be read."""
    try:
        data = json.loads((folder / NAME).read_text())
        return Stamp(state=data["state"], key=data["key"], recipe=data["recipe"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(folder: Path, stamp: Stamp) -> None:
    """Puts the stamp in place in one step."""
    draft = folder / (NAME + ".new")
    draft.write_text(json.dumps(asdict(stamp), indent=1) + "\n")
    draft.replace(folder / NAME)
