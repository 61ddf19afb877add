"""Every mutant of an adapter's life is killed by named checks, and without it those checks pass.

They take turns on shared servers: each acts only while its own checks are judged. The fixes are
in, since the released vLLM fails some of these checks by itself.
"""

from collections.abc import Iterator, Mapping, Sequence

import pytest
from cli_run import Verify, in_turn
from seeded import table

FIRST = {
    **table(
        (
            *("mutant-old-weights", "mutant-encoder-key", "mutant-slot-not-written"),
            *("mutant-unload-in-name", "mutant-unload-at-once", "mutant-adapters-leak"),
            *("mutant-refused-is-empty", "mutant-refused-is-base", "mutant-fan-in-scales"),
            "mutant-resolved-as-first",
        ),
        *("lifecycle", "refusal"),
    ),
    **table(["mutant-load-harms"], "lifecycle"),
}
# On servers of their own: what the first ones leave behind in a slot or in the adapter that was
# harmed would be enough to fail these checks.
SECOND = {
    **table(["mutant-slot-not-reset"], "lifecycle"),
    **table(["mutant-load-harms"], "refusal"),
}
RUNS = {"first": FIRST, "second": SECOND}
PAIRS = [(name, mutant) for name, mutants in RUNS.items() for mutant in mutants]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Verify]]:
    """The runs by name; each is made when it is first asked for."""
    runs: dict[str, Verify] = Runs(tmp_path_factory)
    yield runs
    for run in runs.values():
        run.close()


class Runs(dict[str, Verify]):
    """Runs what is asked for once."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._folders = folders

    def __missing__(self, name: str) -> Verify:
        words = {
            "clean": [w for c in checks(FIRST) + checks(SECOND) for w in ("--only", c)],
            "first": in_turn(FIRST),
            "second": in_turn(SECOND),
        }[name]
        self[name] = run = Verify("--with-fixes", *words, reports=self._folders.mktemp(name))
        return run.end()


def checks(mutants: Mapping[str, Sequence[str]]) -> list[str]:
    return [check for own in mutants.values() for check in own]


def test_without_a_mutant(ended: dict[str, Verify]) -> None:
    every = checks(FIRST) + checks(SECOND)
    assert ended["clean"].outcomes() == dict.fromkeys(every, "pass"), ended["clean"].text


@pytest.mark.parametrize(("name", "mutant"), PAIRS)
def test_killed(ended: dict[str, Verify], name: str, mutant: str) -> None:
    own, run = RUNS[name][mutant], ended[name]
    outcomes = {check: run.outcomes().get(check) for check in own}
    assert outcomes == dict.fromkeys(own, "fail"), run.text


def test_each_run_has_judged_them_all(ended: dict[str, Verify]) -> None:
    for name, mutants in RUNS.items():
        assert ended[name].outcomes() == dict.fromkeys(checks(mutants), "fail")
        assert ended[name].code == 1
