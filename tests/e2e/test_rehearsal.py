"""The rehearsal of the GPU run: clean it passes, and each seeded defect fails a named check."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from cli_run import Verify

MIXED = "isolation/scout/mixed-batch/free-slots"
MOVES = "relations/scout/projector/moves"
STRENGTH = "coverage/scout/projector/strength"
ROWS = "arithmetic/scout/rows/one-chunk"
AFTER = "relations/scout/tower-attention/same-after-others"
TOGETHER = "relations/scout/sent-together/as-alone"
EVERY = (MIXED, MOVES, STRENGTH, ROWS, AFTER, TOGETHER)


def rehearsed(reports: Path, *words: str, only: Iterable[str] = EVERY) -> Verify:
    picked = (word for check in only for word in ("--only", check))
    return Verify("--profile", "rehearsal", *picked, *words, reports=reports).end()


def test_passes_clean_and_as_silent_as_a_gpu(tmp_path: Path) -> None:
    run = rehearsed(tmp_path, "--set", "mutant=mutant-silent-rows")
    assert run.code == 0, run.text
    assert set(run.outcomes().values()) == {"pass"}


@pytest.mark.parametrize(
    ("defects", "mutants", "killers"),
    [
        # Rows are wrong in three checks only, none of which asks whether the projector acts. What
        # they leave in the encoder cache can make an adapter act where it should not, which is no
        # help to one that does nothing. Of the two mutants the first alone changes no answer.
        (
            ("break=projector:zero-b",),
            ("mutant-silent-rows", *(f"mutant-forget-cls@{i}" for i in (ROWS, MIXED, AFTER))),
            {MOVES, STRENGTH} | {ROWS, MIXED, AFTER},
        ),
        # A scale that is wrong alone and in company shows in no comparison of the two; and by the
        # time that two adapters are swapped, the strength has been judged.
        ((), ("mutant-scale-off", f"mutant-adapters-swapped@{MIXED}"), {STRENGTH, MIXED}),
    ],
    ids=["ignored; wrong rows, silently", "25 % too strong; swapped"],
)
def test_seeded_defects_fail(
    tmp_path: Path, defects: tuple[str, ...], mutants: tuple[str, ...], killers: set[str]
) -> None:
    settings = (*defects, "mutant=" + ",".join(mutants))
    words = (word for setting in settings for word in ("--set", setting))
    run = rehearsed(tmp_path, *words, only=killers)
    assert run.code == 1, run.text
    failed = {identity for identity, outcome in run.outcomes().items() if outcome == "fail"}
    assert killers <= failed, run.text
    judged = [check["id"] for check in run.report["checks"]]
    assert judged.index(STRENGTH) < judged.index(MIXED)


def test_weak_adapters_are_built_stronger_once(tmp_path: Path) -> None:
    """The second run finds in the cache what the first one reached by a second server."""
    weak = ("--profile", "rehearsal", "--only", MOVES, "--set", "strength=0.06")
    cache = {"MM_LORA_CACHE": str(tmp_path / "cache")}
    reached = []
    for servers in (2, 1):
        run = Verify(*weak, reports=tmp_path, environment=cache).end()
        assert run.code == 0, run.text
        assert len(run.report["servers"]) == servers
        rows = run.report["tables"]["strength"]["rows"]
        (strength,) = {row[2] for row in rows if row[1] == "projector"}
        reached.append(strength)
        assert ("building stronger" in run.text) is (servers == 2)
        (noise,) = run.report["tables"]["noise"]["rows"]
        tolerance = float(noise[3])
        assert tolerance <= 5e-2
        assert run.report["checks"][0]["effect"] >= 5 * tolerance
        assert any("a scale (alpha) wrong by less than" in one for one in run.report["limits"])
    assert reached[0] == reached[1]
    assert "times what it was" in reached[0]
