"""How long a run will still take: from what it showed, and nothing where it showed nothing."""

import io

import pytest
from rich.console import Console
from rich.spinner import Spinner

from mm_lora.core.progress import Progress, roughly
from mm_lora.run.plan import Plan, Planned
from mm_lora.run.time_left import FEW, TimeLeft
from mm_lora.serving.server.spec import ServerSpec

ONE, TWO = (ServerSpec(model=name, adapters=(), flags=(), env=(), patches=()) for name in "ab")
COSTS = {"fast": 1.0, "slow": 10.0}


def follow(*checks: tuple[str, ServerSpec | None]) -> TimeLeft:
    planned = tuple(Planned(id=name, title=name, core=True) for name, _ in checks)
    return TimeLeft(Plan(planned, {name: spec for name, spec in checks if spec}), COSTS)


def fast(count: int, spec: ServerSpec = ONE) -> list[tuple[str, ServerSpec]]:
    return [(f"fast/{spec.model}/{at}", spec) for at in range(count)]


def test_nothing_is_said_before_anything_was_seen() -> None:
    time = follow(("alone/x", None), *fast(FEW + 2))
    assert time.left() is None
    time.ended("alone/x", 30.0)
    time.ended("fast/a/0", 40.0)  # with the server's start
    for at in range(1, FEW):
        time.ended(f"fast/a/{at}", 1.0)
    assert time.left() is None
    time.ended(f"fast/a/{FEW}", 1.0)
    left = time.left()
    assert left is not None
    assert (left.seconds, left.at_least) == (pytest.approx(1.0), False)


def test_it_follows_the_machine_and_not_the_costs() -> None:
    """Here all takes twice as long: so will the group that was not seen, and the next start."""
    time = follow(*fast(201), ("slow/a/x", ONE), *fast(1, TWO))
    time.ended("fast/a/0", 80.0)
    for at in range(1, 201):
        time.ended(f"fast/a/{at}", 2.0)
    left = time.left()
    assert left is not None
    assert left.seconds == pytest.approx(20.0 + 80.0 + 2.0, rel=0.02)
    time.ended("slow/a/x", 20.0)
    time.ended("fast/b/0", 80.0)
    assert time.left().seconds == 0  # type: ignore[union-attr]


def test_a_check_that_ends_the_server_waits_for_another_start() -> None:
    checks = [Planned(id=name, title=name, core=True) for name, _ in fast(1 + FEW)]
    ends = [Planned(id=f"fast/z/{at}", title="z", core=True, deadly=True) for at in range(2)]
    servers = {check.id: ONE for check in (*checks, *ends)}
    time = TimeLeft(Plan((*checks, *ends), servers), COSTS)
    time.ended("fast/a/0", 40.0)
    for at in range(1, 1 + FEW):
        time.ended(f"fast/a/{at}", 1.0)
    assert time.left().seconds == 80.0  # type: ignore[union-attr]
    time.ended("fast/z/0", 55.0)
    assert time.left().seconds == 55.0  # type: ignore[union-attr]


def test_a_kind_of_check_that_nobody_knows_is_not_guessed() -> None:
    time = follow(*fast(2 + FEW), ("strange/a/x", ONE), ("strange/a/y", ONE))
    for at in range(1 + FEW):
        time.ended(f"fast/a/{at}", 1.0)
    assert time.left().at_least  # type: ignore[union-attr]
    time.ended("strange/a/x", 7.0)
    left = time.left()
    assert left is not None
    assert (left.seconds, left.at_least) == (pytest.approx(1.0 + 7.0), False)


def test_a_check_that_does_not_apply_costs_nothing() -> None:
    skipped = Planned(id="strange/x", title="x", core=True, skip="not here")
    checks = [Planned(id=name, title=name, core=True) for name, _ in fast(1 + FEW)]
    time = TimeLeft(Plan((skipped, *checks), dict(fast(1 + FEW))), COSTS)
    for at in range(1 + FEW):
        time.ended(f"fast/a/{at}", 1.0)
    assert time.left().seconds == 0  # type: ignore[union-attr]


def test_the_line_shows_it_and_fits_into_the_terminal() -> None:
    out = io.StringIO()
    progress = Progress(Console(file=out, width=40))
    progress.expect(134)
    progress.checking("numerics/model/" + "x" * 60)
    progress.left(126.0, at_least=True)
    progress.console.print(Spinner("dots", progress))
    progress.left(30.4)
    progress.console.print(Spinner("dots", progress))
    progress.left(-1.0)
    progress.console.print(Spinner("dots", progress))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 40
    assert "0/134 checks  over 2 min left  numer" in lines[0]
    assert "about 30 s left" in lines[1]
    assert "left" not in lines[2]


@pytest.mark.parametrize(
    ("seconds", "words"), [(1, "10 s"), (84, "80 s"), (86, "1 min"), (7500, "2 h 5 min")]
)
def test_it_is_rounded_as_an_estimate_is(seconds: float, words: str) -> None:
    assert roughly(seconds) == words
