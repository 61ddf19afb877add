"""A diff against the installed vLLM is served: a wrong line fails named checks, no line none."""

import difflib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from cli_run import Verify

MODEL = "model_executor/models/mllama4.py"
RIGHT = "return num_chunks * (raw_patches + 1), "
WRONG = "return num_chunks * raw_patches, "
CLASS, ROWS = "arithmetic/scout/rows/vllm-class", "arithmetic/scout/rows/one-chunk"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Verify]:
    started: list[Verify] = []

    def start(diff: str, *only: str) -> Verify:
        file = tmp_path / "change.diff"
        file.write_text(diff)
        words = [word for one in only for word in ("--only", one)]
        started.append(Verify(*words, "--set", f"vllm-patch={file}", reports=tmp_path / "reports"))
        return started[-1].end()

    yield start  # type: ignore[misc]
    for one in started:
        one.close()


def without_class_token() -> str:
    spec = find_spec("vllm")
    assert spec is not None
    assert spec.submodule_search_locations
    text = Path(spec.submodule_search_locations[0], MODEL).read_text()
    assert RIGHT in text
    lines = text.splitlines(True), text.replace(RIGHT, WRONG).splitlines(True)
    return "".join(difflib.unified_diff(*lines, f"a/vllm/{MODEL}", f"b/vllm/{MODEL}"))


def test_a_dropped_class_token_fails_named_checks(run) -> None:  # type: ignore[no-untyped-def]
    diff = without_class_token()
    told = run(diff, CLASS, ROWS)
    assert told.outcomes() == {CLASS: "fail", ROWS: "fail"}
    assert told.code == 1
    assert told.report["vllm"]["diff"]["files"] == [f"vllm/{MODEL}"]
    assert "sha256" in told.text


def test_an_empty_diff_changes_nothing(run) -> None:  # type: ignore[no-untyped-def]
    told = run("", CLASS, ROWS)
    assert told.outcomes() == {CLASS: "pass", ROWS: "pass"}
    assert told.code == 0
    assert told.report["vllm"]["diff"]["files"] == []


def test_a_hunk_that_does_not_apply_is_named(run) -> None:  # type: ignore[no-untyped-def]
    diff = without_class_token().replace("raw_patches =", "other =")
    told = run(diff, CLASS, ROWS)
    assert told.code == 2
    assert f"hunk 1 of vllm/{MODEL}" in told.text
    assert not told.outcomes()
