"""Seeded defects: each dice claim fails on a real server that breaks it, by the real command."""

import sys
from pathlib import Path

import pytest
from cli_run import Verify

from mm_lora.adapters.sets import named
from mm_lora.core.cache import copy_built
from mm_lora.families.models import resolve
from mm_lora.truth.build import Builder

ADAPTERS = ("tower-attention", "tower-mlp", "vision-adapter", "projector")
EVERYBODY = ("base", *ADAPTERS, "language-model", "all", "mine")


def failed(mutants: str, folder: Path) -> set[str]:
    """The checks that fail, each as `subject/variant`; `mine` is an adapter of the user's."""
    scout = resolve("scout")
    with Builder(Path(sys.executable)) as builder:
        built = builder.adapters(scout, [named(scout.family, "tower-mlp")])["tower-mlp"]
    copy_built(built.path, folder / "mine")
    run = Verify(
        *("--only", "dice/scout/*", "--set", f"mutant={mutants}"),
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
    assert {states[mutant] for mutant in mutants.split(",")} == {"applied"}
    outcomes = run.outcomes()
    assert set(outcomes.values()) <= {"pass", "fail", "known-defect", "skip"}
    return {i.removeprefix("dice/scout/") for i, outcome in outcomes.items() if outcome == "fail"}


def every(variant: str, *subjects: str) -> set[str]:
    return {f"{subject}/{variant}" for subject in subjects}


@pytest.mark.parametrize(
    ("mutants", "expected"),
    [
        (
            # Only the first makes an answer differ when it is asked again; only the second
            # changes the base after adapters were used, which it first meets as a text; only
            # the third changes what transformers says too.
            "mutant-cached-positions,mutant-base-rows-stale,mutant-pixels-shifted",
            every("picture", *EVERYBODY)
            | every("effect", *EVERYBODY[1:])
            | every("two-pictures", "base", "vision-adapter")
            | {"base/reference", "base/unchanged", "base/streamed", "tower-attention/text-only"},
        ),
        (
            # The first loses a token of streamed answers only; the second needs two chunks; the
            # third gives every adapter's text the language model of the newest, `all`.
            "mutant-stream-drops-token,mutant-chunks-shifted,mutant-language-rows-newest",
            every("streamed", "base", "projector")
            | every("two-pictures", "base", "vision-adapter")
            | every("text-only", *ADAPTERS, "mine")
            | every("effect", *ADAPTERS, "language-model", "mine"),
        ),
    ],
    ids=["repeat, base, reference", "stream, two pictures, text"],
)
def test_dice_checks_fail(mutants: str, expected: set[str], tmp_path: Path) -> None:
    assert failed(mutants, tmp_path) == expected
