"""An adapter that PEFT trained and saved, in three spellings: inspect, repair, verify."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from inspected_adapters import respelled

from mm_lora.adapters.bad import rename
from mm_lora.adapters.files import copy, read
from mm_lora.families.models import resolve
from mm_lora.families.modules import either
from mm_lora.truth.build import Builder

MODEL = "qwen2.5-vl"
HERE = Path(__file__).parent
FAMILY = resolve(MODEL).family


def run(*words: str | Path, codes: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode in codes, f"{done.returncode}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The miniature, and an adapter trained on all that vLLM wraps of it."""
    with Builder(Path(sys.executable)) as builder:
        checkpoint = builder.checkpoint(resolve(MODEL))
    folder = tmp_path_factory.mktemp("trained") / "adapter"
    modules = either([group.pattern for group in FAMILY.wrapped])
    run(HERE / "trained_adapter.py", checkpoint, folder, modules)
    return checkpoint, folder


SPELLINGS = {
    "as-saved": (lambda folder: None, "applied"),
    "newer-prefix": (rename("base_model.model.model.", "base_model.model.net.model."), "ignored"),
    "exporter": (rename(".weight", ".default.weight"), "refused"),
}


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the repaired adapters lie, by the name of their spelling."""
    return tmp_path_factory.mktemp("repaired")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_inspect_and_repair(
    trained: tuple[Path, Path], repaired: Path, tmp_path: Path, spelling: str
) -> None:
    checkpoint, original = trained
    make, verdict = SPELLINGS[spelling]
    adapter, fixed = copy(original, tmp_path / "adapter"), repaired / spelling
    make(adapter)
    words = ("-m", "mm_lora", "inspect", adapter, "--model", checkpoint)
    seen: dict[str, Any] = json.loads(run(*words, "--json", codes=(0, 1)))
    assert seen["verdict"] == verdict
    assert all(group["effect"] > 0 for group in seen["groups"])
    told = json.loads(run(*words, "--repair", fixed, "--json"))
    assert told["verdict"] == "applied"
    assert read(fixed) == read(original)


def test_the_repaired_adapters_are_served_exactly(repaired: Path, tmp_path: Path) -> None:
    told: list[str | Path] = ["--reports", tmp_path]
    for name in SPELLINGS:
        told += ["--adapter", f"{name}={repaired / name}", "--only", f"dice/*/{name}/*"]
    run("-m", "mm_lora", "verify", "--model", MODEL, *told)
    report = json.loads((tmp_path / "latest" / "report.json").read_text())
    assert {check["outcome"] for check in report["checks"]} == {"pass"}
    assert {name for name in SPELLINGS for check in report["checks"] if name in check["id"]} == {
        *SPELLINGS
    }


def test_older_names_are_applied_as_they_are(trained: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, original = trained
    adapter = copy(original, tmp_path / "adapter")
    respelled(FAMILY.to_vllm)(adapter)
    run("-m", "mm_lora", "inspect", adapter, "--model", checkpoint)
