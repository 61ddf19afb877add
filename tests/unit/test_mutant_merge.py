"""Joining the shards of a run of mutants: the whole as one run would have written it, or a no."""

from dataclasses import replace
from pathlib import Path

import pytest

from mm_lora.cli.commands import report_merge
from mm_lora.core.errors import UsageError
from mm_lora.core.run_folder import dumps
from mm_lora.core.typed import plain
from mm_lora.run.mutant_document import (
    Baseline,
    LaneResults,
    MutantResult,
    MutantResults,
    MutantShard,
)
from mm_lora.run.mutant_merge import merge, summary
from mm_lora.run.mutant_turns import Lane

PLANNED = ("mutant-a", "mutant-b", "mutant-c")


def part(index: int, *results: MutantResult, code: int = 0) -> MutantResults:
    lane = LaneResults(
        lane=Lane.CHECKS,
        baseline=Baseline(judged=2, failed=()),
        mutants=results,
        control_failures=(),
    )
    shard = MutantShard(index=index, count=2, planned=PLANNED)
    return MutantResults(model="one", vllm="0.32.0", exit_code=code, shard=shard, lanes=(lane,))


A = MutantResult(id="mutant-a", result="killed", how="numbers", killed_by=("dice/x",))
B = MutantResult(id="mutant-b", result="survived")
C = MutantResult(id="mutant-c", result="killed", how="crash", killed_by=("dice/y",))
FIRST, SECOND = part(1, A, C), part(2, B, code=1)


def test_the_whole_has_every_mutant_in_the_order_of_one_run() -> None:
    whole = merge({"second": SECOND, "first": FIRST})
    (lane,) = whole.lanes
    assert [one.id for one in lane.mutants] == list(PLANNED)
    assert (lane.baseline.judged, whole.exit_code, whole.shard) == (4, 1, None)
    (shown,) = summary(whole).lanes
    assert shown.counts == "1 killed, 1 by crash, 1 survived"
    assert shown.checks == ["dice/x", "dice/y"]


@pytest.mark.parametrize(
    ("codes", "whole"), [((0, 0), 0), ((0, 4), 0), ((4, 4), 4), ((3, 1), 1), ((3, 4), 3)]
)
def test_the_worst_exit_code_is_the_wholes(codes: tuple[int, int], whole: int) -> None:
    first, second = (
        replace(one, exit_code=code) for one, code in zip((FIRST, SECOND), codes, strict=True)
    )
    assert merge({"a": first, "b": second}).exit_code == whole


@pytest.mark.parametrize(
    ("shards", "said"),
    [
        ({"a": FIRST}, "shards [2] of 2 are missing"),
        ({"a": FIRST, "b": FIRST, "c": SECOND}, "shards [1] of 2 are given more than once"),
        ({"a": FIRST, "b": replace(SECOND, shard=None)}, "b is not a shard"),
        ({"a": FIRST, "b": replace(SECOND, exit_code=None)}, "b did not end"),
        ({"a": FIRST, "b": replace(SECOND, exit_code=130)}, "b did not end"),
        ({"a": FIRST, "b": replace(SECOND, model="two")}, "b and a are shards of different runs"),
    ],
)
def test_what_is_no_whole_run_is_refused(shards: dict[str, MutantResults], said: str) -> None:
    with pytest.raises(UsageError) as error:
        merge(shards)
    assert said in str(error.value)


def stored(folder: Path, results: MutantResults) -> str:
    folder.mkdir()
    (folder / "report.json").write_text("{}", encoding="utf-8")
    (folder / "mutants.json").write_text(dumps(plain(results)), encoding="utf-8")
    return str(folder)


def test_the_command_writes_both_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [stored(tmp_path / "a", FIRST), stored(tmp_path / "b", SECOND)]
    assert report_merge.run(names, tmp_path / "whole") == 1
    found = {file.name for file in (tmp_path / "whole" / "latest").iterdir()}
    assert found == {"mutants.json", "mutants.md"}
    assert "1 killed, 1 by crash, 1 survived" in capsys.readouterr().out


def test_a_file_that_is_none_of_ours_is_wrong_usage(tmp_path: Path) -> None:
    name = stored(tmp_path / "a", FIRST)
    (tmp_path / "a" / "mutants.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        report_merge.run([name], tmp_path)
