"""What holds for every test here: no process is left behind, every report is as its schema says."""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import stored

from mm_lora.serving.server.cradle import Cradles

_MARK = "MM_LORA_TEST_FILE"
_GONE_S = 20.0
_SEEN: set[Path] = set()

LONGEST_FIRST = (
    "test_isolation_mutants",
    "test_shards",
    "test_rehearsal",
    "test_remote",
    "test_life_mutants",
    "test_watch",
    "test_state_mutants",
    "test_rank_mutants",
    "test_verify_rows",
    "test_mutants",
)
"""Files of minutes. A file is one worker's: a long one that begins last leaves the other idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the long files first; the sort is stable, so that a file's tests keep their order."""
    place = {name: at for at, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    """Marks the environment of whatever this file's tests start, and looks for it behind them.

    A process group would not do: servers have groups and sessions of their own. Ends what it
    finds, so that the next file has the machine to itself.
    """
    mark, began = secrets.token_hex(8), time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(_MARK, mark)
        yield
    deadline = time.monotonic() + _GONE_S
    while (found := _marked(mark, began)) and time.monotonic() < deadline:
        time.sleep(0.2)
    said = [f"{process.pid} {' '.join(process.info['cmdline'] or ())[:200]}" for process in found]
    for process in found:
        process.kill()
    assert said == []


@pytest.fixture(scope="module", autouse=True)
def reports_are_as_promised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever report.json and mutants.json a run leaves in this file's folders; those of runs that
    were killed too."""
    yield
    for name, schema in stored.FILES.items():
        for file in set(tmp_path_factory.getbasetemp().rglob(name)) - _SEEN:
            _SEEN.add(file)
            stored.require(schema, file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cradles() -> Iterator[Cradles]:
    """What the servers of a file are forked from."""
    found = Cradles()
    yield found
    found.close()


def _marked(mark: str, began: float) -> list[psutil.Process]:
    """The user's own processes since then that have the mark; those that ended do not count."""
    found = []
    for process in psutil.process_iter(["uids", "create_time", "status", "cmdline"]):
        told = process.info
        if not told["uids"] or told["uids"].real != os.getuid() or told["create_time"] < began - 1:
            continue
        try:
            if told["status"] != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found
