"""A run is stored as it goes: a kill at any point loses nothing that was saved; cost is linear."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mm_lora.core.errors import ExitCode
from mm_lora.core.journal import NAME, Journal, read_report
from mm_lora.core.outcomes import Outcome
from mm_lora.core.record import Check, Run, ServerRecord
from mm_lora.core.report import Report, of_run
from mm_lora.core.run_folder import RunFolder, dumps
from mm_lora.core.table import Column, Kind


class Killed(BaseException):
    """What SIGKILL is to this process."""


class Folder(RunFolder):
    """Counts bytes, takes a second for each 100 kB, and may be killed before or in an operation."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.bytes = self.operations = self.wholes = 0
        self.now = 0.0
        self.kill: Callable[[Path, str], None] = lambda file, text: None

    def write(self, name: str, text: str) -> Path:
        self._work(name, text)
        self.wholes += 1
        return super().write(name, text)

    def append(self, name: str, text: str) -> None:
        self._work(name, text)
        super().append(name, text)

    def remove(self, name: str) -> None:
        self._work(name, "")
        super().remove(name)

    def _work(self, name: str, text: str) -> None:
        self.operations += 1
        self.kill(self.path / name, text)
        self.bytes += len(text)
        self.now += len(text) / 100_000

    def clock(self) -> float:
        return self.now


def a_run() -> Run:
    return Run(profile="cpu", argv=["mm-lora", "verify"], seed=0, started="now")


def a_check(number: int) -> Check:
    return Check(
        id=f"dice/scout/{number}/x",
        title="t",
        group="dice",
        outcome=Outcome.PASS,
        expected=[-1.0] * 16,
        observed=[-1.0] * 16,
    )


def steps(run: Run, checks: int) -> Iterator[None]:
    """A run's life: after each step it is saved."""
    table = run.tables.named("t", "title", ["name", Column("error", Kind.DIFFERENCE)])
    yield
    run.vllm["version"] = "0.32.0"
    run.servers.append(ServerRecord(spec={}, label="scout"))
    yield
    for number in range(checks):
        run.duration_s += 1
        run.checks.append(a_check(number))
        if number % 3 == 0:
            table.add(f"row {number}", float("inf"))
        if number % 4 == 1:
            table.put(0, ["row 0", number * 1e-3])
        if number == checks // 2:
            run.servers[0].ready_s = 3.0
            run.servers.append(ServerRecord(spec={}, label="another"))
            run.limits = ["everything"]
            table.sort(lambda row: row[1])
        yield
    run.note, run.exit = "the end", ExitCode.PASS
    yield


def known(run: Run) -> dict[str, Any]:
    data = of_run(run).as_json()
    return Report.from_json({**data, "timings": []}).as_json()


def same(folder: Path, expected: dict[str, Any]) -> bool:
    found = {**read_report(folder).as_json(), "timings": []}
    keys = ("checks", "servers", "tables", "vllm", "limits", "counts", "duration_s", "note")
    return dumps({k: found[k] for k in keys}) == dumps({k: expected[k] for k in keys})


@pytest.mark.parametrize("clock", ["stands still", "runs on"])
def test_after_every_save_all_is_read(tmp_path: Path, clock: str) -> None:
    folder, run = Folder(tmp_path), a_run()
    journal = Journal(folder, run, folder.clock)
    for _ in steps(run, 30):
        folder.now += 3 if clock == "runs on" else 0
        journal.save()
        assert same(tmp_path, known(run))
    assert (folder.wholes > 5) is (clock == "runs on")
    assert not (tmp_path / NAME).exists()
    assert read_report(tmp_path).finished


def test_a_kill_at_any_point_loses_nothing_but_what_was_under_way(tmp_path: Path) -> None:
    """Before each operation on a file, and in the middle of it."""
    operations: list[tuple[int, bool]] = []

    def note(number: int, file: Path, text: str) -> None:
        operations.append((number, file.name == NAME and bool(text)))

    lived(tmp_path / "whole", note)
    assert len(operations) > 15
    for point, appends in operations[1:]:
        for torn in (0.0, 0.5, 0.98) if appends else (0.0,):

            def kill(number: int, file: Path, text: str, p: int = point, t: float = torn) -> None:
                if number == p:
                    if file.name == NAME and text:
                        with file.open("a", encoding="utf-8") as journal:
                            journal.write(text[: int(len(text) * t)])
                    raise Killed

            place = tmp_path / f"{point}-{torn}"
            _, saved, under_way = lived(place, kill)
            if (place / "report.json").exists():  # else killed at the first save of all
                assert same(place, saved) or same(place, under_way)
            shutil.rmtree(place)


def lived(
    place: Path, kill: Callable[[int, Path, str], None]
) -> tuple[Folder, dict[str, Any], dict[str, Any]]:
    """A run until it ends or is killed: its folder, what it had saved, and what it was saving."""
    place.mkdir()
    folder, run = Folder(place), a_run()
    folder.kill = lambda file, text: kill(folder.operations, file, text)
    journal = Journal(folder, run, folder.clock)
    saved = under_way = known(run)
    try:
        for _ in steps(run, 12):
            folder.now += 1
            under_way = known(run)
            journal.save()
            saved = under_way
    except Killed:
        pass
    return folder, saved, under_way


@pytest.mark.parametrize("seconds", [0.0, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("checks", [50, 200])
def test_n_saves_cost_n(tmp_path: Path, checks: int, seconds: float) -> None:
    """In bytes: a few times the last report. Whole after each check it would be half as many times
    as there are checks."""
    folder, run = Folder(tmp_path), a_run()
    journal = Journal(folder, run, folder.clock)
    for _ in steps(run, checks):
        folder.now += seconds
        journal.save()
    assert folder.bytes < 10 * (tmp_path / "report.json").stat().st_size


def test_a_finished_report_needs_no_journal(tmp_path: Path) -> None:
    """Killed between the last report.json and the removal of the journal."""
    run = a_run()
    run.exit = ExitCode.PASS
    folder = RunFolder(tmp_path)
    folder.write_json("report.json", of_run(run).as_json())
    folder.append_json(NAME, {"note": "older"})
    assert read_report(tmp_path).note == ""
