"""Seeded defects: each dice claim fails on a real server that breaks it, by the real command."""

import sys
from pathlib import Path

import pytest
from cli_run import Verify
from seeded import killed_by

from mm_lora.adapters.sets import named
from mm_lora.core.cache import copy_built
from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder


def outcomes(mutants: tuple[str, ...], folder: Path) -> dict[str, str]:
    """What each check comes to under these mutants; `mine` is an adapter of the user's."""
    scout = resolve("scout")
    with Builder(Path(sys.executable)) as builder:
        built = builder.adapters(scout, [named(scout.family, "tower-mlp")])["tower-mlp"]
    copy_built(built.path, folder / "mine")
    run = Verify(
        *("--only", "dice/scout/*", "--set", f"mutant={','.join(mutants)}"),
        *("--adapter", f"mine={folder / 'mine'}"),
        reports=folder / "reports",
    )
    try:
        run.end()
    finally:
        run.close()
    assert run.code == 1
    (server,) = run.report["servers"]
    states = {row["id"]: row["state"] for row in server["patches"]}
    assert {states[mutant] for mutant in mutants} == {"applied"}
    found = run.outcomes()
    assert set(found.values()) <= {"pass", "fail", "known-defect", "skip"}
    return found


# Of the first three, only the first makes an answer differ when it is asked again; only the second
# changes the base after adapters were used, which it first meets as a text; only the third changes
# what transformers says too. Of the others, the first loses a token of streamed answers only; the
# second needs two chunks; the third gives every adapter's text the language model of the newest.
@pytest.mark.parametrize(
    "mutants",
    [
        ("mutant-cached-positions", "mutant-base-rows-stale", "mutant-pixels-shifted"),
        ("mutant-stream-drops-token", "mutant-chunks-shifted", "mutant-language-rows-newest"),
    ],
    ids=["repeat, base, reference", "stream, two pictures, text"],
)
def test_dice_checks_fail(mutants: tuple[str, ...], tmp_path: Path) -> None:
    found = outcomes(mutants, tmp_path)
    failed = {identity for identity, outcome in found.items() if outcome == "fail"}
    assert failed == killed_by(mutants, found)
