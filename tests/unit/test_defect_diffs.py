"""Diffs of the fixes: one for each defect of the release or a reason for none, and the command."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mm_lora.checks import defect_diffs, defects
from mm_lora.cli.app import app
from mm_lora.cli.commands import defect
from mm_lora.core.errors import ExitCode, UsageError
from mm_lora.serving import unified_diff

ENTRIES = defects.load()
OF_RELEASE = [one for one in ENTRIES if one.seen_in(defect_diffs.RELEASE, one.platform)]
FIXES = sorted({one.fix for one in OF_RELEASE})
FILES = sorted(defect_diffs.folder().glob("*.diff"))


def called(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["defect", "diff", *words])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("fix", FIXES)
def test_each_fix_has_a_diff_or_a_reason(fix: str) -> None:
    assert (defect_diffs.read(fix) is None) == (fix in defect_diffs.left_out())


def test_no_file_and_no_reason_is_left_over() -> None:
    assert {file.stem for file in FILES} | defect_diffs.left_out().keys() == set(FIXES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_diff_has_prose_and_changes_python_files_of_the_package(file: Path) -> None:
    prose, _, rest = file.read_text(encoding="utf-8").partition("\ndiff --git ")
    assert prose.startswith("[Bugfix]")
    assert len(prose.splitlines()) > 3
    changes = unified_diff.parse(f"diff --git {rest}")
    for one in changes:
        assert re.fullmatch(r"vllm/[\w/]+\.py", one.path)
        assert one.old == f"a/{one.path}"
        assert one.new == f"b/{one.path}"
        assert one.hunks
    assert unified_diff.parse(file.read_text(encoding="utf-8")) == changes


def test_a_diff_is_printed_as_it_is() -> None:
    code, out, err = called("bad-adapter-is-500")
    assert (code, err) == (0, "")
    assert out == (defect_diffs.folder() / "bad-adapter-status.diff").read_text(encoding="utf-8")


def test_defects_of_one_fix_have_the_same() -> None:
    assert called("adapter-modules-ignored")[1] == called("adapter-half-applied")[1] != ""


def test_it_goes_to_a_file(tmp_path: Path) -> None:
    file = tmp_path / "fix.diff"
    code, out, _ = called("bad-adapter-is-500", "--out", str(file))
    assert code == 0
    assert file.name in out
    assert file.read_text(encoding="utf-8") == defect_diffs.read("bad-adapter-status")
    with pytest.raises(UsageError, match="cannot be written"):
        defect.diff("bad-adapter-is-500", tmp_path / "no-folder" / "fix.diff")


def test_what_has_none_says_why() -> None:
    code, out, err = called("evicted-adapter-read-again")
    assert (code, out) == (ExitCode.EMPTY, "")
    assert "evicted-adapter-read-again has no diff: " in err
    assert defect_diffs.left_out()["adapter-files-kept"] in err


def test_a_defect_of_older_versions_says_so() -> None:
    older = next(one for one in ENTRIES if one.fix and one not in OF_RELEASE)
    code, _, err = called(older.id)
    assert code == ExitCode.EMPTY
    assert f"vLLM {defect_diffs.RELEASE}, whose source" in err


def test_an_unknown_id_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no-such-defect"):
        defect.diff("no-such-defect", None)


def test_show_names_the_command_where_there_is_a_diff() -> None:
    one = defect.named(ENTRIES, "bad-adapter-is-500")
    command = "mm-lora defect diff bad-adapter-is-500"
    assert f"for upstream: {command}" in "\n".join(defect.lines(one))
    assert defect.as_document(one)["diff"] == command
    none = defect.named(ENTRIES, "evicted-adapter-read-again")
    assert "defect diff" not in "\n".join(defect.lines(none))
    assert defect.as_document(none)["diff"] == ""
