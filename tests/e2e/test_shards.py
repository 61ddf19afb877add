"""A run in three shards, merged, is the unsharded run check by check."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from cli_run import MM_LORA, Verify

ONLY = [
    word
    for pattern in (
        "arithmetic/*/pictures/*",
        "isolation/scout/in-flight/4-few-slots",
        "isolation/scout/alone/every-slot",
    )
    for word in ("--only", pattern)
]
ONLY.append("--with-fixes")  # or the base meets a known defect in full slots, by chance
OWN = ("began_s", "duration_s", "observed", "error", "effect")
"""What two runs of one check may differ in: times, and the last bits of measured numbers."""


def comparable(report: dict[str, Any]) -> list[dict[str, Any]]:
    """How many bursts it took until the requests had met, and so how many answers, is chance."""
    checks = [{k: v for k, v in check.items() if k not in OWN} for check in report["checks"]]
    for check in checks:
        if isinstance(check["expected"], str):
            check["expected"] = re.sub(r"^\d+ answers", "all answers", check["expected"])
    return checks


def run(reports: Path, *words: str) -> Path:
    ended = Verify(*ONLY, *words, reports=reports).end()
    assert ended.code == 0, ended.text
    return (reports / "latest").resolve()


def merge(*folders: Path, reports: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(MM_LORA), "report", "merge", *map(str, folders), "--reports", str(reports)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


def test_three_shards_are_the_whole(tmp_path: Path) -> None:
    # One reports folder: its name is in the line that repeats a check.
    whole = read(run(tmp_path / "runs"))
    shards = [run(tmp_path / "runs", "--set", f"shard={i}/3") for i in (1, 2, 3)]
    counts = [len(read(shard)["servers"]) for shard in shards]
    assert sorted(counts) == [0, 1, 1]  # no shard has run it all, and one needs no server
    assert len(whole["servers"]) == 2

    refused = merge(*shards[:2], reports=tmp_path / "merged")
    assert (refused.returncode, "[3] of 3 are missing" in refused.stderr) == (2, True)
    ended = merge(*reversed(shards), reports=tmp_path / "merged")
    assert ended.returncode == 0, ended.stderr
    merged = read(tmp_path / "merged" / "latest")
    assert comparable(merged) == comparable(whole)
    assert (merged["counts"], merged["outcome"]) == (whole["counts"], whole["outcome"])
    for name in ("junit.xml", "report.md"):
        assert (tmp_path / "merged" / "latest" / name).is_file()


def test_an_empty_shard_is_no_failure(tmp_path: Path) -> None:
    only = ["--only", "arithmetic/scout/pictures/*", "--set", "shard=2/2"]
    ended = Verify(*only, reports=tmp_path).end()
    assert ended.code == 0, ended.text
    assert ended.report["checks"] == []
    assert "no server falls into this shard" in ended.text
