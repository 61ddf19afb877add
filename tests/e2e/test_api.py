"""`import mm_lora` in programs: loads nothing, says nothing, and does what the commands do."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import stored
from cli_run import MM_LORA

from mm_lora.adapters.sets import named
from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder

LOADED = """
import sys
before = set(sys.modules)
import mm_lora
print(sorted(set(sys.modules) - before))
mm_lora.verify, mm_lora.inspect, mm_lora.tokens("scout")
print(sorted({"torch", "transformers", "vllm"} & sys.modules.keys()))
"""

VERIFIED = """
import json, sys
from pathlib import Path
from mm_lora import UsageError, verify
from mm_lora.core.journal import read_report

reports = Path(sys.argv[1])
report = verify(model="scout", only=["dice/scout/base/picture", "arithmetic/scout/rows/one-chunk"],
                reports=reports)
assert read_report(reports / "latest").checks == report.checks
try:
    verify(only="no/such/check", reports=reports)
except UsageError as error:
    refused = str(error)
print(json.dumps({"outcome": report.outcome, "exit_code": report.exit_code,
                  "counts": report.counts, "argv": report.argv, "refused": refused,
                  "vllm": report.served.label, "ready_s": [s.ready_s for s in report.servers],
                  "runs": len(list(reports.glob("*/report.json")))}))
"""

INSPECTED = """
import sys
from mm_lora import inspect
from mm_lora.checks.inspection.document import document
from mm_lora.core.run_folder import dumps

found = inspect(sys.argv[1], model=sys.argv[2])
assert [one.is_fine for one in found] == [True]
print(dumps(document(found)))
"""


def program(text: str, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What it printed, once it ended well and said nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", text, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "GITHUB_ACTIONS": "true"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done


def test_the_import_loads_nothing(tmp_path: Path) -> None:
    alone, later = program(LOADED, folder=tmp_path).stdout.splitlines()
    assert alone == "['mm_lora', 'mm_lora.core', 'mm_lora.core.version']"
    assert later == "[]"


def test_verify_on_a_real_server(tmp_path: Path) -> None:
    (line,) = program(VERIFIED, str(tmp_path / "reports"), folder=tmp_path).stdout.splitlines()
    said = json.loads(line)
    assert (said["outcome"], said["exit_code"]) == ("pass", 0)
    assert said["counts"]["pass"] == sum(said["counts"].values()) > 1
    assert "0." in said["vllm"]
    assert said["ready_s"][0] > 1
    assert "no/such/check" in said["refused"]
    assert said["runs"] == 2  # the run's own folder, and `latest`
    assert said["argv"][:2] == ["mm-lora", "verify"]


def test_inspect_is_the_command(tmp_path: Path) -> None:
    scout = resolve("scout")
    with Builder(Path(sys.executable)) as builder:
        built = builder.adapters(scout, [named(scout.family, "tower-mlp")])["tower-mlp"]
        model = str(builder.checkpoint(scout))
    text = program(INSPECTED, str(built.path), model, folder=tmp_path).stdout
    stored.require("inspect", text)
    command = [str(MM_LORA), "inspect", str(built.path), "--model", model, "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.stdout == text
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("command", [("tokens", "scout"), ("tokens", "qwen2.5-vl")])
def test_tokens_are_as_promised(command: tuple[str, ...]) -> None:
    told = subprocess.run([str(MM_LORA), *command, "--json"], capture_output=True, text=True)
    stored.require("tokens", told.stdout)
