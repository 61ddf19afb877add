"""The probe's bounded record on disk: numbered lines in a few segments, the oldest dropped first.

Never raises: a full disk costs lines, which the reader sees as a gap in their numbers, not vLLM.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SEGMENT_BYTES = 2**20
SEGMENTS = 64


class SegmentedFile:
    """Appends JSON lines to `<stem>.<n>.jsonl`; every line has the next "seq".

    A line is one write to a file opened for appending, so that only a kill or a full disk can tear
    it. At most `segments` × `segment_bytes` stay on disk.
    """

    def __init__(
        self, stem: Path, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS
    ) -> None:
        self.stem = stem
        self.segment_bytes = segment_bytes
        self.segments = segments
        self.seq = 0
        self.failed = 0
        self._segment = -1
        self._room = 0
        self._torn = False
        self._file: int | None = None

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Write the records, each on a line; one that cannot be written is lost, its number too."""
        self.append_encoded([encoded(record) for record in records])

    def append_encoded(self, texts: Iterable[str], first: str = "") -> None:
        """The same for records that are `encoded`; `first` are more fields, `"step":7,`."""
        lines = []
        for text in texts:
            self.seq += 1
            lines.append(f'{{"seq":{self.seq},{first}{text[1:]}')
        if not lines:
            return
        data = ("\n".join(lines) + "\n").encode()
        try:
            if self._file is None or self._room < len(data):
                self._next_segment()
            self._write(b"\n" + data if self._torn else data)
            self._torn = False
        except OSError:
            self.failed += len(lines)
            self._torn = True

    def close(self) -> None:
        """Close the open segment; the next append opens another."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _write(self, data: bytes) -> None:
        if self._file is None:
            raise OSError("no open segment")
        self._room -= len(data)
        while data:
            data = data[os.write(self._file, data) :]

    def _next_segment(self) -> None:
        self.close()
        self._segment += 1
        path = self.stem.with_name(f"{self.stem.name}.{self._segment}.jsonl")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._room = self.segment_bytes
        self._torn = False
        too_old = self._segment - self.segments
        if too_old >= 0:
            self.stem.with_name(f"{self.stem.name}.{too_old}.jsonl").unlink(missing_ok=True)


def encoded(record: dict[str, Any]) -> str:
    """A record, not empty, as JSON without spaces."""
    return json.dumps(record, separators=(",", ":"))


def segment_files(folder: Path, stem: str) -> list[Path]:
    """The segments of one record that are on disk, the oldest first."""
    found = []
    for path in folder.glob(f"{stem}.*.jsonl"):
        number = re.fullmatch(r"\.(\d+)\.jsonl", path.name.removeprefix(stem))
        if number:
            found.append((int(number[1]), path))
    return [path for _, path in sorted(found)]


def write_once(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON file so that a reader sees all of it or none; a full disk costs the file."""
    scratch = path.with_name(path.name + ".part")
    try:
        scratch.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
