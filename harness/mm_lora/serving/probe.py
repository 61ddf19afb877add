"""Reads what the probe wrote in the vLLM workers: wrapped layers, steps, used adapter tensors.

Tolerant: a torn line is skipped and counted, lines that the worker had to drop are seen as gaps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from mm_lora.core.errors import PatchError, TroubleError
from mm_lora.inside.probe_file import segment_files
from mm_lora.serving.probe_records import AdapterUse, Observed, Step, StepLine, Worker

T = TypeVar("T")

Mark = Mapping[str, int]
"""Worker → number of its last line: what was written after it was caused after it."""


class Probe:
    """The probe's folder of one server; may be read while the server writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._workers: dict[Path, Worker] = {}  # each file is written once

    def workers(self) -> tuple[Worker, ...]:
        """The workers that have wrapped their layers, by rank; of a rank that was started again
        the last. PatchError for a lost hook point."""
        by_rank: dict[int, Worker] = {}
        for path in sorted(self.folder.glob("probe-*.modules.json"), key=_written):
            if path not in self._workers:
                self._workers[path] = _worker(path)
            worker = self._workers[path]
            by_rank[worker.rank] = worker
        for worker in by_rank.values():
            if worker.missing:
                raise PatchError(
                    f"this vLLM lacks the probe's hook points: {', '.join(worker.missing)}",
                    "that this vLLM version is supported",
                )
        return tuple(by_rank[rank] for rank in sorted(by_rank))

    def mark(self) -> Mark:
        """Remember how far the workers have written, to read later only what came `since`."""
        return {worker.name: self._last(worker.name) for worker in self.workers()}

    def since(self, mark: Mark | None = None) -> Observed:
        """All steps after the mark, in the order of each worker."""
        steps: list[Step] = []
        lost = torn = 0
        for worker in self.workers():
            last = (mark or {}).get(worker.name, 0)
            lines, bad = self._lines(worker.name, "steps", after=last)
            torn += bad
            for line in lines:
                if line["seq"] <= last:
                    continue
                lost += line["seq"] - last - 1
                last = line["seq"]
                steps.append(_typed(line, StepLine, f"{worker.name}.steps").of(worker))
        return Observed(tuple(steps), lost, torn)

    def adapters(self) -> tuple[AdapterUse, ...]:
        """Every activation of an adapter, in order, of each worker."""
        return tuple(
            _typed({**line, "worker": worker.name}, AdapterUse, f"{worker.name}.adapters")
            for worker in self.workers()
            for line in self._lines(worker.name, "adapters")[0]
        )

    def _last(self, worker: str) -> int:
        for path in reversed(segment_files(self.folder, f"{worker}.steps")):
            lines, _ = _read(path)
            if lines:
                return int(lines[-1]["seq"])
        return 0

    def _lines(self, worker: str, kind: str, after: int = 0) -> tuple[list[Mapping[str, Any]], int]:
        """The readable lines of all segments that hold some `after` that number, and how many of
        theirs were not readable."""
        parts, torn = [], 0
        for path in reversed(segment_files(self.folder, f"{worker}.{kind}")):
            lines, bad = _read(path)
            parts.append(lines)
            torn += bad
            if lines and lines[0]["seq"] <= after + 1:
                break
        return [line for lines in reversed(parts) for line in lines], torn


def _written(path: Path) -> tuple[float, str]:
    return path.stat().st_mtime, path.name


def _read(path: Path) -> tuple[list[Mapping[str, Any]], int]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:  # the worker dropped it while we looked
        return [], 0
    raws = [raw for raw in data.split(b"\n") if raw.strip()]
    lines = [line for raw in raws if (line := _parsed(raw)) is not None]
    return lines, len(raws) - len(lines)


def _parsed(raw: bytes) -> Mapping[str, Any] | None:
    try:
        line = msgspec.json.decode(raw)
    except msgspec.DecodeError:
        return None
    return line if isinstance(line, dict) and "seq" in line else None


def _worker(path: Path) -> Worker:
    name = path.name.removesuffix(".modules.json")
    try:
        document = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise TroubleError(
            f"the probe's list of layers cannot be read: {path}: {error}", "free disk space"
        ) from error
    return _typed({**document, "name": name}, Worker, str(path))


def _typed(data: Mapping[str, Any], kind: type[T], source: str) -> T:
    """A whole record, whose writer is ours: another shape is trouble, and no gap."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        raise TroubleError(
            f"the probe's record has an unknown format: {source}: {error}",
            "that the server was started by this version of mm-lora",
        ) from error
