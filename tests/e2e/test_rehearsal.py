"""The rehearsal of the GPU run: clean it passes, and each seeded defect fails a named check."""

from pathlib import Path

import pytest
from cli_run import Verify

MIXED = "isolation/scout/mixed-batch/free-slots"
MOVES = "relations/scout/projector/moves"
STRENGTH = "coverage/scout/projector/strength"
ROWS = "arithmetic/scout/rows/one-chunk"
AFTER = "relations/scout/tower-attention/same-after-others"
TOGETHER = "relations/scout/sent-together/as-alone"
ONLY = [word for i in (MIXED, MOVES, STRENGTH, ROWS, AFTER, TOGETHER) for word in ("--only", i)]


def rehearsed(reports: Path, *words: str) -> Verify:
    return Verify("--profile", "rehearsal", *ONLY, *words, reports=reports).end()


def test_passes_clean_and_as_silent_as_a_gpu(tmp_path: Path) -> None:
    run = rehearsed(tmp_path, "--set", "mutant=mutant-silent-rows")
    assert run.code == 0, run.text
    assert set(run.outcomes().values()) == {"pass"}


@pytest.mark.parametrize(
    ("seed", "killers"),
    [
        ("break=projector:zero-b", {MOVES, STRENGTH}),
        ("mutant=mutant-scale-off", {STRENGTH}),
        ("mutant=mutant-adapters-swapped", {MIXED}),
        ("mutant=mutant-silent-rows,mutant-forget-cls", {ROWS, MIXED, AFTER}),
    ],
    ids=["ignored", "25 % too strong", "swapped", "wrong rows, silently"],
)
def test_a_seeded_defect_fails(tmp_path: Path, seed: str, killers: set[str]) -> None:
    run = rehearsed(tmp_path, "--set", seed)
    assert run.code == 1, run.text
    failed = {identity for identity, outcome in run.outcomes().items() if outcome == "fail"}
    assert killers <= failed, run.text


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
