"""Every mutant of an adapter's life is killed by a named check, and without it that check passes.

The fixes are in, since the released vLLM fails some of these checks by itself.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

LIFE = "lifecycle/scout"
KILLERS = (
    ("mutant-old-weights", f"{LIFE}/same-name/language"),
    ("mutant-old-weights", f"{LIFE}/in-place/tower"),
    ("mutant-old-weights", f"{LIFE}/in-place/language"),
    ("mutant-encoder-key", f"{LIFE}/same-name/tower"),
    ("mutant-slot-not-written", f"{LIFE}/evicted/in-turn"),
    ("mutant-unload-at-once", f"{LIFE}/meanwhile/it-is-unloaded"),
    ("mutant-refused-is-base", "refusal/scout/no-such-folder"),
    ("mutant-unload-in-name", f"{LIFE}/unload/gone"),
    ("mutant-adapters-leak", f"{LIFE}/rounds/memory"),
    ("mutant-slot-not-reset", f"{LIFE}/evicted/same-slot"),
    ("mutant-load-harms", f"{LIFE}/meanwhile/others-come-and-go"),
    ("mutant-load-harms", "refusal/scout/rank-above-maximum"),
)


def outcomes(tmp_path: Path, checks: set[str], *words: str) -> dict[str, str]:
    only = [word for check in sorted(checks) for word in ("--only", check)]
    command = [sys.executable, "-m", "mm_lora.cli", "verify", "--with-fixes", *only, *words]
    subprocess.run([*command, "--reports", str(tmp_path)], capture_output=True, check=False)
    report = json.loads((tmp_path / "latest" / "report.json").read_text(encoding="utf-8"))
    return {check["id"]: check["outcome"] for check in report["checks"]}


def test_without_a_mutant(tmp_path: Path) -> None:
    checks = {check for _, check in KILLERS}
    assert outcomes(tmp_path, checks) == dict.fromkeys(checks, "pass")


@pytest.mark.parametrize(("mutant", "check"), KILLERS)
def test_killed(tmp_path: Path, mutant: str, check: str) -> None:
    assert outcomes(tmp_path, {check}, "--set", f"mutant={mutant}") == {check: "fail"}
