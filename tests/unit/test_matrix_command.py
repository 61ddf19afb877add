"""`mm-lora matrix` without a process: wrong words, rows that are not run, exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm_lora.cli.commands import matrix
from mm_lora.core.errors import InstallError, NoFeature, UsageError
from mm_lora.report import matrix_rows
from mm_lora.report.matrix_rows import Row
from mm_lora.run.options import RunOptions
from mm_lora.run.settings import Settings
from mm_lora.serving.scan import Scan
from mm_lora.serving.server.source import VllmSource


class Facts:
    vllm = "0.20.0"


class Looked:
    def __init__(self) -> None:
        self.lacks = {"llama4": "no hooks"}
        self.source = VllmSource(Path("/vllm"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a fake machine has: `found` by version, `looks`: what looking at a vLLM raises."""
    told: dict[str, Any] = {"found": {}, "looks": {}, "codes": [], "ran": []}

    def interpreter(word: str, say: Any) -> Path:
        found = told["found"].get(word, Path("/env") / word)
        if isinstance(found, Exception):
            raise found
        return Path(found)

    def look_at(
        python: Path, families: Any, say: Any, *, diff_file: Any = None, choice: str = "auto"
    ) -> Any:
        assert [family.name for family in families] == ["llama4"]
        if diff_file is not None and "diff" in told["looks"]:
            raise told["looks"]["diff"]
        if choice in told["looks"]:
            raise told["looks"][choice]
        return Looked()

    def verified(version: str, patch: str, options: RunOptions, folder: Any, say: Any) -> Row:
        told["ran"].append((patch, options.command_line()))
        code = told["codes"].pop(0) if told["codes"] else 0
        return Row(version=version, patch=patch, state=matrix_rows.RAN, exit_code=code)

    monkeypatch.setattr(matrix, "_interpreter", interpreter)
    monkeypatch.setattr(matrix, "facts", lambda python: Facts())
    monkeypatch.setattr(matrix, "look_at", look_at)
    monkeypatch.setattr(matrix, "_verified", verified)
    monkeypatch.setattr(matrix, "scan", lambda folder: Scan(classes=("A",), layers=1))
    return told


def run(tmp_path: Path, *words: str, **settings: Any) -> tuple[int, dict[str, Any]]:
    options = RunOptions(reports=tmp_path, settings=Settings(**settings))
    code = matrix.run(words, options)
    page: dict[str, Any] = json.loads((tmp_path / "latest" / "matrix.json").read_text())
    return code, page


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("/nonexistent/python", "is not a program that can be run"),
        ("./pyproject.toml", "is not a program that can be run"),
        ("newest", "is not a version"),
        ("0.99.0", "is not supported"),
    ],
)
def test_wrong_words_are_wrong_usage(tmp_path: Path, word: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        matrix.run([word], RunOptions(reports=tmp_path))
    assert "--server-python" not in str(caught.value), "matrix has no such option"
    assert list(tmp_path.iterdir()) == [], "nothing is begun"


def test_a_gpu_profile_takes_interpreters_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="environments for CPUs"):
        matrix.run(["0.20.0"], RunOptions(profile="gpu", reports=tmp_path))


def test_a_vllm_without_the_feature_is_run_with_the_patch_alone(
    tmp_path: Path, machine: dict[str, Any]
) -> None:
    machine["looks"]["none"] = NoFeature("it lacks hooks")
    code, page = run(tmp_path, "0.20.0")
    assert code == 0
    assert [(row["patch"], row["state"]) for row in page["rows"]] == [
        ("none", "no-feature"),
        ("feature", "ran"),
    ]
    ((patch, line),) = machine["ran"]
    assert patch == "feature"
    assert line[-2:] == ["--set", "patch=feature"]
    assert line[line.index("--server-python") + 1] == "/env/0.20.0"


@pytest.mark.parametrize(
    ("states", "codes", "code"),
    [
        ((InstallError("no wheel"),), (), 4),  # nothing was verified
        ((InstallError("no wheel"), Path("/env")), (0, 0), 0),
        ((Path("/env"), Path("/env")), (0, 3, 1, 0), 1),
        ((Path("/env"),), (4, 4), 4),
        ((Path("/env"), Path("/env")), (0, 143), 143),
    ],
)
def test_exit_codes(
    tmp_path: Path,
    machine: dict[str, Any],
    states: tuple[Any, ...],
    codes: tuple[int, ...],
    code: int,
) -> None:
    words = [f"0.{20 + at}.0" for at in range(len(states))]
    machine["found"] = dict(zip(words, states, strict=True))
    machine["codes"] = list(codes)
    ended, page = run(tmp_path, *words)
    assert ended == page["exit_code"] == code


def test_a_signal_ends_the_whole_matrix(tmp_path: Path, machine: dict[str, Any]) -> None:
    machine["codes"] = [130]
    code, page = run(tmp_path, "0.20.0", "0.21.0")
    assert (code, len(page["rows"])) == (130, 1)


def test_a_diff_is_named_in_its_row(tmp_path: Path, machine: dict[str, Any]) -> None:
    code, page = run(tmp_path, "0.20.0", vllm_patch=Path("/p/pr.diff"))
    assert (code, [row["patch"] for row in page["rows"]]) == (0, ["pr.diff (auto)"])
    machine["looks"]["diff"] = UsageError("hunk 1 does not apply")
    code, page = run(tmp_path, "0.20.0", vllm_patch=Path("/p/pr.diff"))
    assert (code, page["rows"][0]["state"]) == (2, "diff-does-not-apply")
