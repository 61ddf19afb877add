"""Unit tests cannot start a process, and are not failed by a busy machine."""

import os
import subprocess
from typing import Any

import pytest
from hypothesis import settings

from mm_lora.run.case_marks import MARKS

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


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


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would start a process fails its test: such a test belongs to tests/e2e."""

    def refuse(*arguments: Any, **named: Any) -> Any:
        pytest.fail(f"a unit test starts a process: {arguments[1:] or arguments}", pytrace=True)

    for owner, name in STARTERS:
        monkeypatch.setattr(owner, name, refuse)
