"""Every mutant that mixes up tenants is killed by a named check of group isolation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GROUP = "isolation/scout"
MIXED = "isolation/scout/mixed-batch/free-slots"
PICTURE = "isolation/scout/same-picture/a-base-b-a"


@pytest.mark.parametrize(
    ("mutant", "killer"),
    [
        ("mutant-adapters-swapped", MIXED),
        ("mutant-mapping-left-behind", MIXED),
        ("mutant-encoder-key", PICTURE),
    ],
)
def test_killed(tmp_path: Path, mutant: str, killer: str) -> None:
    words = ["--only", MIXED, "--only", PICTURE, "--set", f"mutant={mutant}"]
    command = [sys.executable, "-m", "mm_lora.cli", "verify", "--reports", str(tmp_path), *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "latest" / "report.json").read_text(encoding="utf-8"))
    outcomes = {check["id"]: check["outcome"] for check in report["checks"]}
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert outcomes[killer] == "fail", report["checks"]


CACHES = [
    ("mutant-prefix-key", "cache/prefix-free-slots", "fail"),
    ("mutant-encoder-key", "cache/encoder-free-slots", "fail"),
    ("mutant-encoder-key", "cache/everything-free-slots", "fail"),
    ("mutant-encoder-key", "same-picture/every-order-free-slots", "fail"),
    ("mutant-processor-item", "cache/mm-free-slots", "fail"),
    # Its answers are right, and prove nothing of empty caches.
    ("mutant-prefixes-kept", "cache/nothing-free-slots", "void"),
]


@pytest.mark.parametrize(("mutant", "check", "outcome"), CACHES)
def test_a_cache_that_mixes_up(tmp_path: Path, mutant: str, check: str, outcome: str) -> None:
    assert outcome_of(tmp_path, check, f"mutant={mutant}") == outcome


def test_an_answer_alone_that_is_not_the_adapters(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, "alone/one-slot", "break=tower-mlp:alpha") == "fail"


def outcome_of(tmp_path: Path, check: str, setting: str) -> str:
    """With the fixes in, since full slots meet a known defect."""
    only = ["--with-fixes", "--only", f"{GROUP}/{check}", "--set", setting]
    command = [sys.executable, "-m", "mm_lora.cli", "verify", "--reports", str(tmp_path), *only]
    subprocess.run(command, capture_output=True, check=False)
    report = json.loads((tmp_path / "latest" / "report.json").read_text(encoding="utf-8"))
    (one,) = report["checks"]
    return str(one["outcome"])


def test_a_soak_that_failed_is_sent_again(tmp_path: Path) -> None:
    """The stored traffic fails again with the mutant, and passes without it."""
    check = "soak/scout/free-slots"
    mutant = ["--set", "mutant=mutant-encoder-key"]

    def verify(*words: str) -> int:
        command = [sys.executable, "-m", "mm_lora.cli", "verify", "--reports", str(tmp_path)]
        return subprocess.run([*command, "--only", check, *words], check=False).returncode

    assert verify("--set", "soak=1", *mutant) == 1
    (stored,) = (tmp_path / "latest").resolve().glob("soak-*.json")
    requests = [one for wave in json.loads(stored.read_text())["waves"] for one in wave["requests"]]
    assert requests
    assert verify("--set", f"replay={stored}", *mutant) == 1
    assert verify("--set", f"replay={stored}") == 0
