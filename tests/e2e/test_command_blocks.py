"""The command blocks of the documents that are tagged `run` or `dry-run` do as their tags say."""

import os
import subprocess
from pathlib import Path

import blocks
import pytest
from blocks import Shown
from cli_run import MM_LORA


@pytest.mark.parametrize("shown", blocks.shown(["run", "dry-run"]), ids=lambda one: one.block.name)
def test_it_ends_well_and_prints_what_is_shown(shown: Shown, tmp_path: Path) -> None:
    printed = ""
    for one in shown.block.commands:
        words = list(one.words)
        if shown.block.tag == "dry-run" and "--dry-run" not in words:
            words.append("--dry-run")
        done = subprocess.run(
            [str(MM_LORA), *words],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "100", "GITHUB_ACTIONS": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        printed += done.stdout + done.stderr
    assert blocks.missing(shown.output, printed) == []
