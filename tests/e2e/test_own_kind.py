"""An adapter of the published model's size: its kind is verified on the miniature, and said so."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mm_lora.adapters.spec import AdapterSpec, of_groups
from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder

MODEL = "qwen2.5-vl"
FAMILY = resolve(MODEL).family
RANKS = {r"layers\.0\.self_attn\.v_proj": 4}


@pytest.fixture(scope="module")
def published() -> Mapping[str, Path]:
    """Adapters for the full widths, by name."""
    specs: list[AdapterSpec] = [
        of_groups(
            FAMILY,
            "as-trained",
            ["merger", "language-model"],
            rank=8,
            dtype="bfloat16",
            peft=(("use_rslora", True), ("rank_pattern", RANKS)),
        ),
        of_groups(FAMILY, "text-names", ["language-model"], form="text-class"),
    ]
    with Builder(Path(sys.executable)) as builder:
        made = builder.adapters(resolve(MODEL), specs, miniature=False)
    return {name: one.path for name, one in made.items()}


def verify(reports: Path, adapters: Mapping[str, Path], *more: str) -> tuple[int, Any]:
    """The exit code, and the report."""
    told = [word for name, path in adapters.items() for word in ("--adapter", f"{name}={path}")]
    only = [word for name in adapters for word in ("--only", f"dice/*/{name}/*")]
    model = () if "--model" in more else ("--model", MODEL)
    words = ("verify", *model, "--reports", str(reports), *told, *only, *more)
    done = subprocess.run([sys.executable, "-m", "mm_lora", *words], timeout=900, check=False)
    return done.returncode, json.loads((reports / "latest" / "report.json").read_text())


def test_the_kind_is_verified_and_said(published: Mapping[str, Path], tmp_path: Path) -> None:
    code, report = verify(tmp_path, published)
    outcomes = {check["id"]: check["outcome"] for check in report["checks"]}
    assert code == 0, outcomes
    assert {*outcomes.values()} == {"pass"}
    assert len(outcomes) == 6
    rows = {row[0]: row for row in report["tables"]["own-kinds"]["rows"]}
    assert rows["as-trained"][3] == "4, 8"
    assert rows["as-trained"][5] == "bfloat16"
    assert "all" in rows["as-trained"][-1]
    limits = "\n".join(report["limits"])
    for name in published:
        assert f"the weights of your adapter {name}" in limits
        assert f"modules of your adapter {name} in layers" in limits


def test_a_wrong_scale_fails(published: Mapping[str, Path], tmp_path: Path) -> None:
    own = {"as-trained": published["as-trained"]}
    code, report = verify(tmp_path, own, "--set", "break=as-trained:alpha")
    failed = {check["id"] for check in report["checks"] if check["outcome"] == "fail"}
    assert code == 1
    assert failed == {f"dice/{MODEL}/as-trained/effect"}


def test_another_familys_adapter_is_refused(published: Mapping[str, Path], tmp_path: Path) -> None:
    own = {"as-trained": published["as-trained"]}
    code, report = verify(tmp_path, own, "--model", "smolvlm")
    assert code == 2
    assert not report["checks"]
    assert "'as-trained' was made for another model" in report["note"]
