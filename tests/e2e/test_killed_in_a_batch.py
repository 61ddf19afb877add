"""A server that is killed while a mixed batch runs: exit code 3, what was seen kept, none left."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mm_lora.checks.isolation.batches import batches
from mm_lora.serving.probe import Probe

FIRST = "isolation/scout/same-picture/a-base-b-a"
KILLED = "isolation/scout/in-flight/16-free-slots"


def worker_in_a_batch(run: Path) -> int:
    """The pid of the worker of the run's server, once 8 of KILLED's requests are under way."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        time.sleep(0.1)
        for folder in run.glob("servers/*/probe"):
            steps = Probe(folder).since().steps
            if steps and len(steps[-1].requests) > 8 and batches(steps[-1:]).language:
                return int(steps[-1].worker.removeprefix("probe-"))
    raise AssertionError("nothing was batched")


def processes(run: Path) -> set[int]:
    return {int(path.stem.rpartition("-")[2]) for path in run.glob("servers/*/processes/*.json")}


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_killed_in_a_mixed_batch(tmp_path: Path) -> None:
    words = ["--only", FIRST, "--only", KILLED, "--reports", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "mm_lora", "verify", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as verify:
        run = tmp_path / "latest"
        os.kill(worker_in_a_batch(run), signal.SIGKILL)
        said, _ = verify.communicate(timeout=300)
    assert verify.returncode == 3, said
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    checks = {check["id"]: check for check in report["checks"]}
    assert report["exit_code"] == 3
    assert checks[FIRST]["outcome"] == "pass"
    assert checks[KILLED]["outcome"] == "error"
    assert "killed from outside" in checks[KILLED]["reason"]
    table = report["tables"]["isolation"]["rows"]
    assert [row[0] for row in table] == ["scout/same-picture/a-base-b-a"]
    lines = (run / "observations.jsonl").read_text(encoding="utf-8").splitlines()
    kept = [json.loads(line) for line in lines]
    assert len(kept) >= 20, "the answers given alone are kept"
    assert processes(run)
    assert not [pid for pid in processes(run) if alive(pid)]
