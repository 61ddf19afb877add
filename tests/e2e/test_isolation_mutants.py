"""Every seeded defect that mixes up tenants is killed by named checks of group isolation.

One server each, without the fixes: one of them keeps adapters apart in the prefix cache too.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_run import Verify

GROUP = "isolation/scout"
PICTURE = "same-picture/a-base-b-a"

KILLERS = (
    ("mutant=mutant-adapters-swapped", ("mixed-batch/free-slots",)),
    ("mutant=mutant-mapping-left-behind", ("mixed-batch/free-slots",)),
    (
        "mutant=mutant-encoder-key",
        (
            PICTURE,
            "same-picture/every-order-free-slots",
            "cache/encoder-free-slots",
            "cache/everything-free-slots",
        ),
    ),
    ("mutant=mutant-prefix-key", ("cache/prefix-free-slots",)),
    ("mutant=mutant-processor-item", ("cache/mm-free-slots",)),
    ("mutant=mutant-base-rows-stale", ("cache/nothing-free-slots",)),
    (
        "mutant=mutant-decode-as-neighbour",
        (
            "decode-with-prefill/free-slots",
            "in-flight/16-free-slots",
            "in-flight/64-free-slots",
        ),
    ),
    ("mutant=mutant-later-pieces", ("prefill-in-pieces/few-slots",)),
    ("break=tower-mlp:alpha", ("alone/one-slot",)),
)


def run(reports: Path, checks: Sequence[str], *words: str) -> Verify:
    only = [word for check in checks for word in ("--only", f"{GROUP}/{check}")]
    verify = Verify(*only, *words, reports=reports)
    try:
        return verify.end()
    finally:
        verify.close()


@pytest.mark.parametrize(("setting", "checks"), KILLERS, ids=[setting for setting, _ in KILLERS])
def test_killed(tmp_path: Path, setting: str, checks: Sequence[str]) -> None:
    ended = run(tmp_path, checks, "--set", setting)
    assert ended.outcomes() == {f"{GROUP}/{check}": "fail" for check in checks}, ended.text
    assert ended.code == 1


def test_caches_that_are_not_emptied_prove_nothing(tmp_path: Path) -> None:
    ended = run(tmp_path, ["cache/nothing-free-slots"], "--set", "mutant=mutant-prefixes-kept")
    assert list(ended.outcomes().values()) == ["void"], ended.text
    assert ended.code == 3


def test_a_soak_that_failed_is_sent_again(tmp_path: Path) -> None:
    """The stored traffic fails again with the mutant, and passes without it."""
    mutant = ["--set", "mutant=mutant-encoder-key"]

    def verify(*words: str) -> int | None:
        one = Verify("--only", "soak/scout/free-slots", *words, reports=tmp_path)
        try:
            return one.end().code
        finally:
            one.close()

    assert verify("--set", "soak=1", *mutant) == 1
    (stored,) = (tmp_path / "latest").resolve().glob("soak-*.json")
    requests = [one for wave in json.loads(stored.read_text())["waves"] for one in wave["requests"]]
    assert requests
    assert verify("--set", f"replay={stored}", *mutant) == 1
    assert verify("--set", f"replay={stored}") == 0
