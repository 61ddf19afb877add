"""Without a GPU the GPU run is refused at once, before any set-up, with exit code 3."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from cli_run import MM_LORA

from mm_lora.core.resources import harness_dir

ROOT = harness_dir().parent
pytestmark = pytest.mark.skipif(
    any(re.fullmatch(r"nvidia\d+", name) for name in os.listdir("/dev")), reason="has a GPU"
)


def timed(*command: str) -> tuple["subprocess.CompletedProcess[str]", float]:
    """The quicker of two: the first one may have to read the disk."""
    ended = []
    for _ in range(2):
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        ended.append(time.monotonic() - began)
    return done, min(ended)


@pytest.mark.skipif(not (ROOT / "Makefile").is_file(), reason="an installed wheel has no Makefile")
def test_make_names_the_tools_exit_code_and_sets_nothing_up(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    done, seconds = timed("make", "gpu-test", f"GPU_VENV={folder}")
    assert done.returncode == 2  # GNU make's own after any failure
    *_, ours, makes = done.stderr.strip().splitlines()
    assert ours.startswith("gpu-test: exit code 3;")
    assert makes.endswith("3")
    assert "no NVIDIA GPU" in done.stderr
    assert seconds < 5
    assert not folder.exists()


def test_verify_refuses(tmp_path: Path) -> None:
    done, seconds = timed(
        str(MM_LORA), "verify", "--profile", "gpu", "--reports", str(tmp_path / "reports")
    )
    assert done.returncode == 3, done.stderr
    assert "needs 4 GPUs of 80 GB; this machine has no NVIDIA GPU" in done.stderr
    assert seconds < 5
    assert not (tmp_path / "reports").exists()
