"""Serves a pull request's lines: applies its diff to a linked copy of an installed vLLM."""

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.cache import MANIFEST, Cache
from mm_lora.core.errors import UsageError
from mm_lora.serving.unified_diff import NULL, Change, DoesNotApply, apply, parse

PACKAGE = "vllm"
_COMPILED = ("csrc/", "cmake/", "CMakeLists.txt", "setup.py", "rust/")
"""What needs a compiler: a diff that changes it cannot be verified this way."""


@dataclass(frozen=True)
class PatchedVllm:
    """A patched copy. `folder`: the package; `search`: what goes in front of PYTHONPATH.

    `files` are changed; `left_out` are the diff's files outside of the package (tests, docs).
    """

    folder: Path
    sha256: str
    name: str
    files: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def search(self) -> Path:
        """The folder that makes `import vllm` find the copy."""
        return self.folder.parent

    def as_json(self) -> dict[str, Any]:
        """For the report, without a path of this machine."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}


def patched_copy(installed: Path, diff: Path, say: Callable[[str], None]) -> PatchedVllm:
    """The copy of the package `installed` with `diff` in it, from the cache or made now.

    Unchanged files are hard links (copies on another disk): nothing is written to them. Raises
    UsageError for a diff that is none, does not apply, or changes more than Python files.
    """
    try:
        content = diff.read_bytes()
        changes = parse(content.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"--set vllm-patch={diff} cannot be read: {error}") from error
    except (UnicodeDecodeError, DoesNotApply) as error:
        raise UsageError(f"--set vllm-patch={diff}: {error}", "a diff as git writes it") from error
    inside, left_out = sorted_out(changes)
    sha256 = hashlib.sha256(content).hexdigest()
    files = _files(installed)

    def build(folder: Path) -> Mapping[str, Any]:
        say(f"copying vLLM and applying {diff.name} to {len(inside)} files")
        fill(folder / PACKAGE, installed, files, inside)
        return {}

    # An editable checkout changes: sizes and times of its files are part of the key.
    state = [
        [name, stat.st_size, stat.st_mtime_ns]
        for name, stat in files.items()
        if not _compiled_from(name)
    ]
    key = {"diff": sha256, "package": str(installed), "files": state}
    folder, _ = Cache("patched", say).get(f"{PACKAGE}-{sha256[:8]}", key, build)
    return PatchedVllm(
        folder / PACKAGE,
        sha256,
        diff.name,
        tuple(change.path for change in inside),
        left_out,
    )


def sorted_out(changes: Sequence[Change]) -> tuple[list[Change], tuple[str, ...]]:
    """The changes of the package, and the paths outside of it that no server needs.

    Raises UsageError for a change that a copy of the package cannot carry.
    """
    inside, left_out = [], []
    for change in changes:
        path = _from_package(change.path)
        if path.startswith(_COMPILED):
            raise UsageError(
                f"the diff changes {path}, which needs a build",
                "build that vLLM and name its interpreter: --server-python",
            )
        if not path.startswith(f"{PACKAGE}/"):
            left_out.append(path)
        elif change.unreadable or not path.endswith(".py") or ".." in Path(path).parts:
            raise UsageError(
                f"{path} in the diff cannot be applied: "
                f"{change.unreadable or 'it is not a Python file'}",
                "leave it out of the diff, or build that vLLM and use --server-python",
            )
        else:
            inside.append(change)
    return inside, tuple(left_out)


def fill(
    target: Path, installed: Path, files: Mapping[str, os.stat_result], changes: Sequence[Change]
) -> None:
    """Link every file of the package below `target`, and write those that change anew.

    Raises UsageError naming file and hunk where the diff does not apply.
    """
    texts = _changed(installed, changes)
    for name in files:
        if name in texts or _compiled_from(name) in texts:
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _link(installed / name, target / name)
    for name, text in texts.items():
        if text is not None:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(text.encode("utf-8"))
    # Compiled modules look for the libraries that their wheel bundles in a folder beside it.
    for libraries in installed.parent.glob(f"{PACKAGE}*.libs"):
        (target.parent / libraries.name).symlink_to(libraries, target_is_directory=True)


def _changed(installed: Path, changes: Sequence[Change]) -> dict[str, str | None]:
    """New text by path inside the package; None for a file that goes."""
    texts: dict[str, str | None] = {}
    for change in changes:
        path = _from_package(change.path)
        name = path.removeprefix(f"{PACKAGE}/")
        known = texts.get(name)
        try:
            if known is None:
                known = "" if change.old == NULL else (installed / name).read_bytes().decode()
            if change.old == NULL and (installed / name).is_file():
                raise DoesNotApply(f"{path} is new in the diff, and is there already")
            text = apply(known, change)
        except FileNotFoundError:
            raise UsageError(
                f"the diff changes {path}, which this vLLM does not have",
                "that the diff was made against this vLLM's version",
            ) from None
        except DoesNotApply as error:
            raise UsageError(
                str(error), "that the diff was made against this vLLM's version"
            ) from error
        texts[name] = None if change.new == NULL else text
    return texts


def _from_package(path: str) -> str:
    """The path from the checkout's root; a diff of installed files may name more in front."""
    return path.rpartition("site-packages/")[2]


def _compiled_from(name: str) -> str:
    """The source of a file in __pycache__, or nothing."""
    folder, cached, file = name.rpartition("__pycache__/")
    return f"{folder}{file.partition('.')[0]}.py" if cached else ""


def _files(installed: Path) -> dict[str, os.stat_result]:
    """Every file of the package by its path in it, sorted; links are followed."""
    found: dict[str, os.stat_result] = {}
    for folder, _, names in os.walk(installed, followlinks=True):
        for name in names:
            path = Path(folder, name)
            if name != MANIFEST and path.is_file():
                found[str(path.relative_to(installed))] = path.stat()
    return dict(sorted(found.items()))


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
