"""Unit tests start no process, import no torch and write what the schemas say; a busy machine fails
none."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stored
from hypothesis import settings

from mm_lora.core.run_folder import RunFolder
from mm_lora.run.case_marks import MARKS

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# What is imported and collected stays to the end: looking through it again and again frees nothing.
gc.set_threshold(50_000, 20, 20)


def pytest_collection_finish() -> None:
    """Before pytest collects garbage five times at its end."""
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Some tests read the cases, which have marks of their own."""
    for line in MARKS:
        config.addinivalue_line("markers", line)


STARTERS = (
    (subprocess.Popen, "__init__"),
    (os, "fork"),
    (os, "forkpty"),
    (os, "posix_spawn"),
    (os, "posix_spawnp"),
    (os, "system"),
)


@pytest.fixture(autouse=True, scope="session")
def no_process() -> Iterator[None]:
    """Whatever would start a process fails its test: such a test belongs to tests/e2e."""

    def refuse(*arguments: Any, **named: Any) -> Any:
        pytest.fail(f"a unit test starts a process: {arguments[1:] or arguments}", pytrace=True)

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STARTERS:
            patch.setattr(owner, name, refuse)
        yield


@pytest.fixture(autouse=True)
def no_torch() -> Iterator[None]:
    """Whatever imports torch fails its test: such a test belongs to tests/e2e."""
    before = "torch._C" in sys.modules
    yield
    assert before or "torch._C" not in sys.modules, "a unit test imports torch"


@pytest.fixture(autouse=True, scope="session")
def last_written() -> Iterator[dict[Path, str]]:
    """The text of every document that mm-lora writes, as it last was."""
    texts: dict[Path, str] = {}
    write = RunFolder.write

    def noting(self: RunFolder, name: str, text: str) -> Path:
        target = write(self, name, text)
        if name in stored.FILES:
            texts[target] = text
        return target

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "write", noting)
        yield texts


@pytest.fixture(autouse=True)
def documents_are_as_promised(last_written: dict[Path, str]) -> Iterator[None]:
    """Whatever report.json and mutants.json a test lets mm-lora write is what its schema says."""
    last_written.clear()
    yield
    for path, text in last_written.items():
        stored.require(stored.FILES[path.name], text)
