"""How much room the cache takes, and which parts of it go when it shall take less.

Nothing of it is lost for good: what a later run needs is built, computed or installed again.
"""

import os
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from mm_lora.core.cache import MANIFEST, lock_of

ENVIRONMENTS = "environments"
"""Of other vLLM versions; their minutes of installing are pruned only by name."""

IN_USE_S = 6 * 3600.0
"""What a run has used since then may still be served, and stays. Of an environment nobody notes the
use: its time is that of its making."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """One thing that goes or stays as a whole: a built folder, or a file with a value.

    `kind`: its folder in the cache. `used_s`: seconds since the epoch.
    """

    kind: str
    path: Path
    size: int
    used_s: float


def held(root: Path) -> list[Held]:
    """All that is below the cache's folder, the longest unused first. Locks and parts of what is
    being built are not counted."""
    found = []
    for kind in sorted(_folders(root)):
        for path in kind.iterdir():
            if not path.name.startswith("."):
                try:
                    found.append(_held(kind.name, path))
                except OSError:  # another run has just removed it
                    continue
    return sorted(found, key=lambda one: (one.used_s, str(one.path)))


def chosen(
    everything: Sequence[Held],
    *,
    at_most: int | None,
    unused_for_s: float | None,
    kinds: Collection[str],
    now: float | None = None,
) -> list[Held]:
    """What has to go of `everything`, which has the longest unused first: all that was unused for
    so long, then the longest unused until the cache has `at_most` bytes. Without either, all. Never
    what may be in use, nor kinds that are not named; where none is, all but the environments.
    """
    now = time.time() if now is None else now
    free = [
        one
        for one in everything
        if now - one.used_s > IN_USE_S
        and (one.kind in kinds if kinds else one.kind != ENVIRONMENTS)
    ]
    if at_most is None and unused_for_s is None:
        return free
    left, going = sum(one.size for one in everything), []
    for one in free:
        is_old = unused_for_s is not None and now - one.used_s > unused_for_s
        if is_old or (at_most is not None and left > at_most):
            going.append(one)
            left -= one.size
    return going


def remove(one: Held) -> bool:
    """Whether it went. A folder that somebody builds again at this moment stays; no run ever sees
    half of one."""
    if not one.path.is_dir():
        one.path.unlink(missing_ok=True)
        return True
    lock = lock_of(one.path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        leaving = one.path.with_name(f".{one.path.name}.pruned")
        shutil.rmtree(leaving, ignore_errors=True)
        os.replace(one.path, leaving)
        shutil.rmtree(leaving, ignore_errors=True)
    finally:
        lock.release()
    return True


def _folders(root: Path) -> list[Path]:
    try:
        return [one for one in root.iterdir() if one.is_dir() and not one.name.startswith(".")]
    except FileNotFoundError:
        return []


def _held(kind: str, path: Path) -> Held:
    if path.is_file():
        status = path.stat()
        return Held(kind=kind, path=path, size=status.st_size, used_s=status.st_mtime)
    files = [one.lstat() for one in path.rglob("*") if one.is_symlink() or one.is_file()]
    manifest = path / MANIFEST
    told = manifest if manifest.is_file() else path
    return Held(
        kind=kind, path=path, size=sum(one.st_size for one in files), used_s=told.stat().st_mtime
    )
