"""Finds the adapters that a path holds: a folder, a hub's, a trainer's, a zip file."""

import re
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from mm_lora.adapters.files import CONFIG, WEIGHTS
from mm_lora.core.errors import UsageError

_STEP = re.compile(r"checkpoint-(\d+)")
_KINDS = (CONFIG, WEIGHTS, f"{WEIGHTS}.index.json", "adapter_model.bin", "adapter_model.pt")
"""A folder with one of these is meant as an adapter, whatever it lacks."""
_LARGEST = 64 << 30
"""Bytes that a zip file may hold: more is no adapter."""


@contextmanager
def found(path: Path) -> Iterator[list[tuple[str, Path]]]:
    """(name, folder) of each adapter at a path, in order; the steps of a trainer by number.

    A zip file is unpacked for as long as the context lasts. Raises UsageError where there is
    nothing, or no adapter.
    """
    if path.is_dir():
        yield _adapters(path, path)
    elif path.is_file() and zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="mm-lora-zip-") as folder:
            _unpack(path, Path(folder))
            yield _adapters(Path(folder), path)
    elif path.is_file() and path.name in _KINDS:
        raise UsageError(f"{path} is one file of an adapter", f"its folder: {path.parent}")
    elif path.exists():
        raise UsageError(f"{path} is no folder and no zip file", "the adapter's folder")
    else:
        raise UsageError(f"there is no adapter {path}", "the adapter's path")


def _adapters(root: Path, said: Path) -> list[tuple[str, Path]]:
    folders = {file.parent for kind in _KINDS for file in root.rglob(kind)}
    if root in folders:
        inner = [one for one in folders if one == root or _STEP.fullmatch(one.name)]
    else:
        inner = list(folders)
    if not inner:
        raise UsageError(
            f"{said} holds no adapter: no {CONFIG}, no {WEIGHTS}",
            "that it is what peft's save_pretrained writes, or a folder of such folders",
        )
    name = said.resolve().name.removesuffix(".zip")
    return [
        ("/".join((name, *one.relative_to(root).parts)), one) for one in sorted(inner, key=_order)
    ]


def _order(folder: Path) -> tuple[tuple[str, int], ...]:
    """By name, numbers as numbers."""
    parts = ((part, _STEP.fullmatch(part)) for part in folder.parts)
    return tuple(("checkpoint-", int(step[1])) if step else (part, 0) for part, step in parts)


def _unpack(file: Path, folder: Path) -> None:
    """Only what an adapter is made of, and never outside the folder."""
    try:
        with zipfile.ZipFile(file) as archive:
            wanted = [
                one
                for one in archive.infolist()
                if not one.is_dir() and PurePosixPath(one.filename).name in _KINDS
            ]
            if sum(one.file_size for one in wanted) > _LARGEST:
                raise UsageError(f"{file} holds more than {_LARGEST >> 30} GiB", "the file")
            for one in wanted:
                archive.extract(one, folder)
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        raise UsageError(f"{file} cannot be unpacked: {error}", "the file") from None
