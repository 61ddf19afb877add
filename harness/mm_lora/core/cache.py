"""The cache, found by content key: folders that are built once, and small values beside them.

Nothing is ever visible half written, and two runs at once may share it.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from filelock import FileLock, Timeout

from mm_lora.core.errors import BuildError
from mm_lora.core.resources import cache_dir

MANIFEST = ".mm-lora.json"
"""Inside each built folder: {"key": what it was built from, "files": {name: bytes}, "answer"}."""

Build = Callable[[Path], Mapping[str, Any]]
_UNSAFE = re.compile(r"[^\w.-]+")
_SMALL = 4 * 2**20
T = TypeVar("T")


def content_key(parts: Any) -> str:
    """16 hex digits that stand for `parts` (anything that JSON can hold)."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def source_key(*files: Path) -> str:
    """One hash of the builder's own source files: a change of the code is a new key."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def folder_key(folder: Path) -> str:
    """16 hex digits that stand for what a model's folder holds, whatever it is called.

    A folder of the cache is known by what it was built from. Of anybody else's, every file in it
    counts (hidden ones and subfolders do not: nobody loads a model from them): the small ones by
    content, the large ones by name, size and time of change, since hashing 100 GB of weights would
    take longer than the run. Whoever trains again in place changes that time; a copy that does not
    keep it is only asked anew. Raises OSError for a folder that cannot be read.
    """
    manifest = _manifest(folder)
    if manifest is not None and folder.resolve().parent.parent == cache_dir().resolve():
        return content_key(manifest["key"])
    parts = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file():
            continue
        status = path.stat()  # of the file itself where the hub's cache has links
        small = status.st_size <= _SMALL
        told = hashlib.sha256(path.read_bytes()).hexdigest() if small else status.st_mtime_ns
        parts.append([path.name, status.st_size, told])
    return content_key(parts)


class Values(Generic[T]):
    """Small values of one kind and type, as JSON files under `root`/`kind`.

    Best effort: what cannot be read, or is not of that type, is absent; what cannot be written
    costs time at the next run, not this run's value.
    """

    def __init__(self, kind: str, type_: type[T], root: Path | None = None) -> None:
        self._kind = kind
        self._type = type_
        self._root = root

    def read(self, key: Any) -> T | None:
        """The value of `key` (anything that JSON can hold), None where there is none."""
        file = self._file(key)
        try:
            value = msgspec.json.decode(file.read_bytes(), type=self._type)
        except (OSError, msgspec.DecodeError):
            return None
        _used(file)
        return value

    def write(self, key: Any, value: T) -> None:
        """Keep the value of `key`, in place of the one before."""
        file = self._file(key)
        fresh = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(msgspec.json.encode(value))
            os.replace(fresh, file)
        except OSError:
            fresh.unlink(missing_ok=True)

    def _file(self, key: Any) -> Path:
        return (self._root or cache_dir()) / self._kind / f"{content_key(key)}.json"


class Cache:
    """Built folders of one kind under `root`/`kind`. Runs at the same time may share it."""

    def __init__(self, kind: str, say: Callable[[str], None], root: Path | None = None) -> None:
        self._folder = (root or cache_dir()) / kind
        self._say = say

    def path(self, label: str, key: Any) -> Path:
        """Where the folder of `key` is, or will be."""
        return self._folder / f"{_UNSAFE.sub('-', label)}-{content_key(key)}"

    def find(self, label: str, key: Any) -> tuple[Path, Mapping[str, Any]] | None:
        """The built folder and what its builder answered, None where it must be built."""
        folder = self.path(label, key)
        manifest = _manifest(folder)
        if manifest is None or damage(folder, manifest) is not None:
            return None
        _used(folder / MANIFEST)
        return folder, manifest["answer"]

    def get(self, label: str, key: Any, build: Build) -> tuple[Path, Mapping[str, Any]]:
        """The folder of `key`; where it is missing or damaged, `build` fills an empty folder first.

        Whoever comes second waits for the first and finds its folder.
        Raises BuildError where the cache cannot be written.
        """
        found = self.find(label, key)
        if found is not None:
            return found
        folder = self.path(label, key)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = lock_of(folder)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._say(f"waiting for another run that builds {folder.name}")
                lock.acquire()
            try:
                return self._locked(label, key, folder, build)
            finally:
                lock.release()
        except OSError as error:
            raise BuildError(
                f"the cache {self._folder} cannot be written: {error}",
                "its permissions and free disk space; MM_LORA_CACHE moves the cache",
            ) from error

    def _locked(
        self, label: str, key: Any, folder: Path, build: Build
    ) -> tuple[Path, Mapping[str, Any]]:
        found = self.find(label, key)
        if found is not None:
            return found
        if folder.exists():
            self._say(
                f"{folder} is damaged ({damage(folder, _manifest(folder))}): building it again"
            )
            shutil.rmtree(folder)
        partial = self._folder / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed: the lock is ours
        partial.mkdir()
        try:
            answer = build(partial)
            files = {str(f.relative_to(partial)): f.stat().st_size for f in _files(partial)}
            manifest = {"key": key, "files": files, "answer": answer}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
            os.replace(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder, answer


def damage(folder: Path, manifest: Mapping[str, Any] | None) -> str | None:
    """What is wrong with a built folder, by names and sizes of its files; None if it is whole."""
    if manifest is None:
        return "no readable manifest"
    for name, size in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
    return None


def lock_of(folder: Path) -> FileLock:
    """What whoever builds or removes a built folder holds."""
    return FileLock(folder.with_name(f".{folder.name}.lock"))


def copy_built(folder: Path, out: Path) -> None:
    """Copy a built folder to a new or empty folder `out`, without the cache's manifest."""
    shutil.copytree(folder, out, dirs_exist_ok=True, ignore=shutil.ignore_patterns(MANIFEST))


def _used(file: Path) -> None:
    """Its time of change tells when it was used last: what was not for long is pruned first."""
    with contextlib.suppress(OSError):
        os.utime(file)


def _manifest(folder: Path) -> Mapping[str, Any] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(manifest, dict) and {"key", "files", "answer"} <= set(manifest)
    return manifest if whole else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
