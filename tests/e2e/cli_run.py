"""Runs `mm-lora verify` as users do, in a process of its own, and sees what it leaves behind."""

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mm_lora.core.journal import read_report

MM_LORA = Path(sys.executable).with_name("mm-lora")
_MARK = "MM_LORA_TEST_MARK"
_PATIENCE_S = 1200.0
_PLAIN = {"COLUMNS": "400", "GITHUB_ACTIONS": ""}
"""Wide enough, and no annotation in a job of GitHub's that runs these tests."""
_GONE_S = 20.0


def in_turn(mutants: Mapping[str, Sequence[str]]) -> list[str]:
    """Words that seed each mutant for the checks that it is to fail, and select those checks.

    While another's check is judged it does nothing, so that one server serves for many.
    """
    pairs = [(mutant, check) for mutant, checks in mutants.items() for check in checks]
    only = [word for _, check in pairs for word in ("--only", check)]
    return [*only, "--set", "mutant=" + ",".join(f"{mutant}@{check}" for mutant, check in pairs)]


class Verify:
    """One `mm-lora verify`, started at once; `end` waits for it. Reports go to `reports`."""

    def __init__(
        self,
        *arguments: str,
        reports: Path,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.reports = reports
        self.mark = secrets.token_hex(8)
        self.text = ""
        self.code: int | None = None
        command = [*before, str(MM_LORA), "verify", *arguments, "--reports", str(reports)]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **_PLAIN, **(environment or {}), _MARK: self.mark},
            start_new_session=True,
        )

    @property
    def words(self) -> str:
        """What it said, on one line: a message is broken where a path makes it too long."""
        return " ".join(self.text.split())

    def end(self) -> Self:
        """Wait for its end; asserts that no process of it is left."""
        self.text, _ = self._process.communicate(timeout=_PATIENCE_S)
        self.code = self._process.returncode
        deadline = time.monotonic() + _GONE_S
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.processes() == {}
        return self

    def processes(self) -> dict[int, str]:
        """What lives of it: by the mark in its environment, or as a vLLM process that reported."""
        mark = f"{_MARK}={self.mark}".encode()
        reported = {one["pid"] for one in self.vllm_processes()}
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                marked = mark in (entry / "environ").read_bytes().split(b"\0")
                if state not in "ZX" and (marked or int(entry.name) in reported):
                    found[int(entry.name)] = (entry / "cmdline").read_text()[:200]
            except (OSError, ValueError, IndexError):
                continue
        return found

    def vllm_processes(self) -> list[dict[str, Any]]:
        """What each vLLM process of it reported: role, pid."""
        files = self.reports.glob("latest/servers/*/processes/*.json")
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def pid_of(self, role: str) -> int:
        """The pid of its only vLLM process of that role."""
        (pid,) = (one["pid"] for one in self.vllm_processes() if one["role"] == role)
        return int(pid)

    @property
    def report(self) -> dict[str, Any]:
        """What it has stored up to now; empty while there is nothing."""
        folder = self.reports / "latest"
        return read_report(folder).as_json() if (folder / "report.json").is_file() else {}

    def outcomes(self) -> dict[str, str]:
        """Id → outcome of each check in the report."""
        return {check["id"]: check["outcome"] for check in self.report.get("checks", [])}

    def reason(self, check_id: str) -> str:
        """Why a check did not pass."""
        (reason,) = (c["reason"] for c in self.report["checks"] if c["id"] == check_id)
        return str(reason)

    def wait_for(self, holds: "Any") -> None:
        """Until `holds()` is true while it runs."""
        deadline = time.monotonic() + _PATIENCE_S
        while not holds():
            assert self._process.poll() is None, self._process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        """A signal to the harness's own process."""
        self._process.send_signal(number)

    def close(self) -> None:
        """End it, however it is."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.communicate(timeout=60)
