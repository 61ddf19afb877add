"""Every mutant of an adapter's life is killed by named checks, and without it those checks pass.

One server each. The fixes are in, since the released vLLM fails some of these checks by itself.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_run import Verify

LIFE = "lifecycle/scout"
REFUSAL = "refusal/scout"
KILLERS = (
    (
        "mutant-old-weights",
        (
            f"{LIFE}/same-name/language",
            f"{LIFE}/in-place/tower",
            f"{LIFE}/in-place/language",
        ),
    ),
    ("mutant-encoder-key", (f"{LIFE}/same-name/tower",)),
    ("mutant-slot-not-written", (f"{LIFE}/evicted/in-turn",)),
    ("mutant-slot-not-reset", (f"{LIFE}/evicted/same-slot",)),
    ("mutant-unload-in-name", (f"{LIFE}/unload/gone",)),
    ("mutant-unload-at-once", (f"{LIFE}/meanwhile/it-is-unloaded",)),
    ("mutant-adapters-leak", (f"{LIFE}/rounds/memory",)),
    # It harms one adapter, which is another one in the second check when both share a server.
    ("mutant-load-harms", (f"{LIFE}/meanwhile/others-come-and-go",)),
    ("mutant-load-harms", (f"{REFUSAL}/rank-above-maximum",)),
    ("mutant-refused-is-empty", (f"{REFUSAL}/no-such-folder", f"{REFUSAL}/no-config")),
    ("mutant-refused-is-base", (f"{REFUSAL}/name-of-the-base",)),
    ("mutant-fan-in-scales", (f"{REFUSAL}/fan-in-fan-out",)),
    ("mutant-resolved-as-first", (f"{REFUSAL}/resolver/inside",)),
)


def outcomes(reports: Path, checks: Sequence[str], *words: str) -> dict[str, str]:
    only = [word for check in checks for word in ("--only", check)]
    verify = Verify("--with-fixes", *only, *words, reports=reports)
    try:
        return verify.end().outcomes()
    finally:
        verify.close()


def test_without_a_mutant(tmp_path: Path) -> None:
    checks = sorted({check for _, checks in KILLERS for check in checks})
    assert outcomes(tmp_path, checks) == dict.fromkeys(checks, "pass")


@pytest.mark.parametrize(("mutant", "checks"), KILLERS)
def test_killed(tmp_path: Path, mutant: str, checks: Sequence[str]) -> None:
    assert outcomes(tmp_path, checks, "--set", f"mutant={mutant}") == dict.fromkeys(checks, "fail")
