"""How a run under way is stored: each change is appended at once, report.json written now and then.

Writing all checks again after each one cost a long run its time squared. Each change is now one
line of journal.jsonl, appended as it comes, and report.json is replaced atomically: at the first
save, at most every few seconds after that, and at the end, when the journal is removed. Until then
report.json may lag behind; `read_report` reads both, so that a kill at any point, SIGKILL too,
loses nothing but the check under way. Times of the parts of a killed run are report.json's.

A line: {"duration_s", "checks": {place: check}, "servers": {place: server}, "tables": {name:
{title, columns, kinds, absent, brief, "rows": {place: cells}}}} and each other key of report.json
that changed, with its whole value. A place is an index: to read a line twice changes nothing, so
that it does not matter which lines a report.json has in it already.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mm_lora.core import typed
from mm_lora.core.record import Run
from mm_lora.core.report import Report, of_run
from mm_lora.core.run_folder import RunFolder, dumps

NAME = "journal.jsonl"
LEAST_S = 2.0
"""Between two writes of report.json, for those who look at it while the run goes on."""

SHARE = 300.0
"""So many times what the last write took is waited for the next: a third of a percent of the run
at most, and fewer and fewer writes as the report grows, so that all of them cost a few of the
last one."""

_OTHERS = ("vllm", "environment", "limits", "note", "defects", "shard")


class Journal:
    """Stores one run. `save` after each change; the last one, with `run.exit` set, closes it."""

    def __init__(
        self, folder: RunFolder, run: Run, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._run = run
        self._clock = clock
        self._checks = 0
        self._told: dict[str, str] = {}
        self._due = clock()

    def save(self) -> None:
        """Append what is new; replace report.json where that is due. Raises ReportError."""
        self._folder.append_json(NAME, self._news())
        ended = self._run.exit is not None
        if ended or self._clock() >= self._due:
            began = self._clock()
            self._folder.write_json("report.json", of_run(self._run).as_json())
            now = self._clock()
            self._due = now + max(LEAST_S, SHARE * (now - began))
        if ended:
            self._folder.remove(NAME)

    def _news(self) -> dict[str, Any]:
        """What the journal does not have yet."""
        run = self._run
        news: dict[str, Any] = {"duration_s": round(run.duration_s, 2)}
        fresh = run.checks[self._checks :]
        if fresh:
            places = range(self._checks, len(run.checks))
            news["checks"] = {n: typed.plain(check) for n, check in zip(places, fresh, strict=True)}
            self._checks += len(fresh)
        servers = {
            number: record
            for number, record in enumerate(map(typed.plain, list(run.servers)))
            if self._is_new(f"server {number}", record)
        }
        if servers:
            news["servers"] = servers
        tables = {
            name: {**table.head(), "rows": rows}
            for name, table in list(run.tables.items())
            if (rows := table.changes())
        }
        if tables:
            news["tables"] = tables
        for key in _OTHERS:
            value = getattr(run, key)
            value = [typed.plain(one) for one in value] if key == "defects" else value
            if value and self._is_new(key, value):
                news[key] = value
        return news

    def _is_new(self, name: str, value: Any) -> bool:
        text = dumps(value, indent=None)
        if self._told.get(name) == text:
            return False
        self._told[name] = text
        return True


def read_report(folder: Path) -> Report:
    """A stored run, one that was killed too. Raises UsageError when it is not one of ours."""
    file = folder / "report.json"
    data = typed.read_json(file, dict[str, Any])
    if data.get("finished") is False:
        lines = list(_lines(folder / NAME))
        data = data if lines else typed.read_json(file, dict[str, Any])  # it ended meanwhile
        for line in lines:
            _apply(data, line)
    return Report.from_json(data, str(file))


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    """A kill or a full disk may tear a line: it is as if it had never been."""
    if not file.is_file():
        return
    for raw in file.read_bytes().splitlines():
        try:
            line = msgspec.json.decode(raw, type=dict[str, Any])
        except msgspec.DecodeError:
            continue
        yield line


def _apply(data: dict[str, Any], line: dict[str, Any]) -> None:
    for key, value in line.items():
        if key in ("checks", "servers"):
            data[key] = _placed(data.get(key, []), value)
        elif key == "tables":
            tables = data.setdefault("tables", {})
            for name, table in value.items():
                known = tables.get(name, {}).get("rows", [])
                tables[name] = {**table, "rows": _placed(known, table["rows"])}
        else:
            data[key] = value


def _placed(known: list[Any], changed: dict[str, Any]) -> list[Any]:
    by_place = {**dict(enumerate(known)), **{int(place): one for place, one in changed.items()}}
    return [by_place[place] for place in sorted(by_place)]
