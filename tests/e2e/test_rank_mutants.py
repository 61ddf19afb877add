"""Every check of group parallel fails of a seeded defect, with the known defects mended."""

from pathlib import Path

import pytest
from cli_run import Verify
from seeded import killed_by

from mm_lora.checks.roles import projections
from mm_lora.families import registry

SHARDED = projections(registry.family("llama4"))


@pytest.mark.parametrize(
    ("mode", "only", "mutants", "failing", "passing"),
    [
        # The first reaches every layer of which a rank has a part, and no answer of the base; the
        # second only what meets another adapter.
        (
            "tensor",
            "*",
            "mutant-first-rank-parts,mutant-adapters-swapped",
            (*SHARDED, "mixed-batch"),
            ("base", "after-a-refusal"),
        ),
        (
            "data-encoder",
            "[bm]*",
            "mutant-pixels-shifted,mutant-adapters-swapped",
            ("base", "mixed-batch"),
            (),
        ),
    ],
    ids=["tensor", "data-encoder"],
)
def test_killed(
    tmp_path: Path,
    mode: str,
    only: str,
    mutants: str,
    failing: tuple[str, ...],
    passing: tuple[str, ...],
) -> None:
    group = f"parallel/scout/{mode}"
    run = Verify(
        *("--with-fixes", "--only", f"{group}/{only}", "--set", f"mutant={mutants}"),
        reports=tmp_path,
    )
    try:
        run.end()
    finally:
        run.close()
    seeded = killed_by(mutants.split(","), run.outcomes())
    assert seeded <= {f"{group}/{name}" for name in failing}
    expected = dict.fromkeys(failing, "fail") | dict.fromkeys(passing, "pass")
    assert run.outcomes() == {f"{group}/{name}": end for name, end in expected.items()}, run.text
