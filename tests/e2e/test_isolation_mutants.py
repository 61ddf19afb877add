"""Every seeded defect that mixes up tenants is killed by named checks of group isolation.

Most take turns on shared servers: each acts only while its own checks are judged. What it leaves
behind must harm no check of another: the mutants of caches write entries that nobody else's keys
find. Without the fixes, since one of them keeps adapters apart in the prefix cache too.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from cli_run import Verify, in_turn
from seeded import quickest

ISOLATION = "isolation/scout/"
SOAK = "soak/scout/free-slots"
NOTHING = f"{ISOLATION}cache/nothing-free-slots"

TOGETHER = quickest(
    (
        *("mutant-mapping-left-behind", "mutant-encoder-key", "mutant-prefix-key"),
        *("mutant-processor-item", "mutant-base-rows-stale", "mutant-decode-as-neighbour"),
        "mutant-later-pieces",
    ),
    "isolation",
)
# It leaves two adapters swapped, so that nothing else is judged on its server; nor does a broken
# adapter, which every server gets, harm a check that compares a server with itself.
SWAPPED = quickest(["mutant-adapters-swapped"], "isolation")
BROKEN, ALONE = "break=tower-mlp:alpha", "alone/one-slot"


def every(mutants: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return dict.fromkeys((check for checks in mutants.values() for check in checks), "fail")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="module")
def together(reports: Path) -> Iterator[Verify]:
    """All that leave no trace, and a minute of random traffic against one of them."""
    words = in_turn(TOGETHER)
    words[-1] += f",mutant-encoder-key@{SOAK}"
    verify = Verify("--only", SOAK, *words, "--set", "soak=1", reports=reports)
    yield verify.end()
    verify.close()


@pytest.mark.parametrize("mutant", TOGETHER)
def test_killed_in_turn(together: Verify, mutant: str) -> None:
    expected = dict.fromkeys(TOGETHER[mutant], "fail")
    outcomes = together.outcomes()
    assert {check: outcomes.get(check) for check in expected} == expected, together.text


def test_one_run_has_judged_them_all(together: Verify) -> None:
    assert together.outcomes() == every(TOGETHER) | {SOAK: "fail"}, together.text
    assert together.code == 1


def test_swapped_and_broken(tmp_path: Path) -> None:
    words = [*in_turn(SWAPPED), "--only", f"{ISOLATION}{ALONE}", "--set", BROKEN]
    ended = Verify(*words, reports=tmp_path).end()
    assert ended.outcomes() == every(SWAPPED) | {f"{ISOLATION}{ALONE}": "fail"}, ended.text
    assert ended.code == 1


def test_a_soak_that_failed_is_sent_again(together: Verify, tmp_path: Path) -> None:
    """The stored traffic fails again with the mutant, and passes without it.

    Beside it, on the clean server: caches that are not emptied when they should be prove nothing.
    """
    (stored,) = (together.reports / "latest").resolve().glob("soak-*.json")
    requests = [one for wave in json.loads(stored.read_text())["waves"] for one in wave["requests"]]
    assert requests
    replay = ["--set", f"replay={stored}", "--only", SOAK]
    again = Verify(*replay, "--set", "mutant=mutant-encoder-key", reports=tmp_path).end()
    assert again.outcomes() == {SOAK: "fail"}, again.text
    assert again.code == 1
    kept = in_turn({"mutant-prefixes-kept": [NOTHING]})
    clean = Verify(*replay, *kept, reports=tmp_path).end()
    assert clean.outcomes() == {NOTHING: "void", SOAK: "pass"}, clean.text
    assert clean.code == 3
