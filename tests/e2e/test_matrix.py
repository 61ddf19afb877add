"""The matrix in a process of its own: rows that run, and rows that say why they do not."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli_run import MM_LORA

from mm_lora.core.interpreters import facts

OWN = facts(Path(sys.executable)).vllm or ""
CLASS = "arithmetic/scout/rows/vllm-class"
NO_SUCH = "0.20.99"


def matrix(reports: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    command = [str(MM_LORA), "matrix", *words, "--only", CLASS, "--reports", str(reports)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    file = reports / "latest" / "matrix.json"
    page = json.loads(file.read_text()) if file.is_file() else {}
    return done.returncode, done.stdout + done.stderr, page


def test_a_version_that_cannot_be_had_is_a_row(tmp_path: Path) -> None:
    code, text, page = matrix(tmp_path, OWN, NO_SUCH)
    assert code == 0, text
    assert [(row["version"], row["state"]) for row in page["rows"]] == [
        (OWN, "ran"),
        (NO_SUCH, "not-installed"),
    ]
    assert page["rows"][0]["checks"] == {CLASS: "pass"}
    assert NO_SUCH in page["rows"][1]["reason"]
    assert (tmp_path / "latest" / page["rows"][0]["report"] / "report.json").is_file()
    assert f"| {OWN} | none | 1 pass | pass |" in (tmp_path / "latest" / "matrix.md").read_text()


def test_a_diff_that_does_not_apply_is_a_row(tmp_path: Path) -> None:
    """An interpreter's path stands for a version; a row with a diff names it."""
    diff = tmp_path / "none.diff"
    diff.write_text("--- a/vllm/version.py\n+++ b/vllm/version.py\n@@ -1 +1 @@\n-no\n+yes\n")
    code, text, page = matrix(tmp_path, sys.executable, "--set", f"vllm-patch={diff}")
    assert code == 2, text
    (row,) = page["rows"]
    assert row["state"] == "diff-does-not-apply"
    assert "hunk 1 of vllm/version.py" in row["reason"]


def test_wrong_words_are_wrong_usage(tmp_path: Path) -> None:
    assert matrix(tmp_path, "newest")[0] == 2
    assert matrix(tmp_path, "0.99.0")[0] == 2
