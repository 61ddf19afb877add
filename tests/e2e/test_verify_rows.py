"""`mm-lora verify` on real servers: four ways in one table, and the patch embedding's defect."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from mm_lora.checks import flow_table

COVERAGE = "coverage/scout/patch-embedding"


def verify(reports: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of a run in a process of its own."""
    command = [sys.executable, "-m", "mm_lora", "verify", "--reports", str(reports), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    report: dict[str, Any] = json.loads((reports / "latest" / "report.json").read_text())
    return done.returncode, report


def test_no_cell_of_the_table_is_empty_and_every_way_agrees(tmp_path: Path) -> None:
    options = ("--model", "all", "--only", "arithmetic/*")
    code, report = verify(tmp_path, *options)
    assert code == 0, [c["reason"] for c in report["checks"] if c["outcome"] != "pass"]
    table = report["tables"][flow_table.NAME]
    assert [row[0] for row in table["rows"]] == ["scout"] * 4 + ["maverick"] * 4 + ["pr35147"] * 4
    for row in table["rows"]:
        cells = dict(zip(table["columns"], row, strict=True))
        assert "" not in row
        assert None not in row
        assert cells["expected"] == cells["vLLM hook"] == cells["measured rows"]
        image_tokens = cells["units"] * (324 if row[0] == "pr35147" else 144)
        assert cells["transformers"].startswith(f"{image_tokens} / ")
    assert {row[2] for row in table["rows"] if row[0] == "pr35147"} == {
        "the pull request's; not seen in a published config"
    }


def test_the_patch_embeddings_defect_and_its_fix(tmp_path: Path) -> None:
    code, report = verify(tmp_path / "as-released", "--only", f"{COVERAGE}/*")
    found = {c["id"].rpartition("/")[2]: (c["outcome"], c["defect"]) for c in report["checks"]}
    assert code == 0
    assert found == {
        "wrapped": ("pass", None),
        "rows": ("known-defect", "llama4-patch-embedding-rows"),
        "effect": ("known-defect", "llama4-patch-embedding-dies"),
        "other-adapters": ("known-defect", "llama4-patch-embedding-dies"),
    }
    code, report = verify(tmp_path / "mended", "--with-fixes", "--only", f"{COVERAGE}/*")
    assert code == 0
    assert {c["outcome"] for c in report["checks"]} == {"pass"}
