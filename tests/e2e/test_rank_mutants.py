"""Ranks that all take the first one's part of an adapter: the check of every sharded layer fails."""

from pathlib import Path

from cli_run import Verify

from mm_lora.projections import CONNECTOR, LANGUAGE, TOWER

GROUP = "parallel/scout/tensor"


def test_the_first_ranks_part_on_every_rank(tmp_path: Path) -> None:
    run = Verify(
        *("--with-fixes", "--only", f"{GROUP}/*", "--set", "mutant=mutant-first-rank-parts"),
        reports=tmp_path,
    )
    try:
        run.end()
    finally:
        run.close()
    sharded = {f"{GROUP}/{adapter}" for adapter in (*TOWER, *CONNECTOR, "projector", *LANGUAGE)}
    others = {f"{GROUP}/{subject}" for subject in ("base", "mixed-batch", "after-a-refusal")}
    expected = dict.fromkeys(sharded, "fail") | dict.fromkeys(others, "pass")
    assert run.outcomes() == expected, run.text
