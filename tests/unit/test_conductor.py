"""The conductor with a context that starts nothing: order, servers, exit codes, what is written."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest

from mm_lora.core.errors import ExitCode, ReportError, ServerError, TroubleError
from mm_lora.core.outcomes import Outcome, Verdict
from mm_lora.core.report import of_run
from mm_lora.run.conductor import Conductor
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Planned, Wish
from mm_lora.run.settings import Settings
from mm_lora.run.shards import Shard

PASS, FAIL, SKIP = (Verdict(outcome=o) for o in (Outcome.PASS, Outcome.FAIL, Outcome.SKIP))
ERROR, VOID = Verdict(outcome=Outcome.ERROR), Verdict(outcome=Outcome.VOID)

Make = Callable[..., Conductor]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A conductor of some options, its checks arranged: one on no server, two on each of two."""

    def conductor(*checks: Planned, **options: Any) -> Conductor:
        told = RunOptions(reports=tmp_path / "reports", **options)
        quiet = fakes.Quiet()
        made = Conductor(
            Inputs.read(told),
            make_context=fakes.FakeContext,  # type: ignore[arg-type]
            progress=quiet,  # type: ignore[arg-type]
            signals=quiet,  # type: ignore[arg-type]
        )
        made.arrange(checks or (on("a"), on("b", "scout"), on("c", "maverick"), on("d", "scout")))
        return made

    return conductor


def on(identity: str, model: str = "") -> Planned:
    wish = Wish(model=model) if model else None
    return Planned(id=f"dice/{identity}", title=identity, core=True, wish=wish)


def judged(conductor: Conductor, *verdicts: Verdict) -> None:
    for check, verdict in zip(list(conductor.plan.checks), verdicts, strict=False):
        conductor.before(check.id)
        conductor.prepare(check.id)
        conductor.ended(check.id, verdict)
        conductor.after(check.id)


def finished(conductor: Conductor, *verdicts: Verdict, interrupted: bool = False) -> Any:
    """The exit code, after a run in which the checks came to these verdicts."""
    conductor.begin()
    judged(conductor, *verdicts)
    return conductor.end(interrupted=interrupted)


def report(conductor: Conductor) -> dict[str, Any]:
    """As it is read from the file."""
    assert conductor.context is not None
    said: dict[str, Any] = json.loads(json.dumps(of_run(conductor.context.run).as_json()))
    return said


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ((PASS, PASS, PASS, PASS), 0),
        ((PASS, PASS, PASS, SKIP), 0),
        ((PASS, FAIL, PASS, ERROR), 1),
        ((PASS, VOID, PASS, PASS), 3),
        ((PASS, ERROR, PASS, PASS), 3),
        ((SKIP, SKIP, SKIP, SKIP), 4),
        ((PASS, PASS), 3),  # a short run is never a pass
        ((FAIL, PASS), 1),
        ((SKIP,), 4),
    ],
)
def test_the_exit_code_follows_the_verdicts(
    make: Make, verdicts: tuple[Verdict, ...], code: int
) -> None:
    conductor = make()
    assert finished(conductor, *verdicts) == code
    assert report(conductor)["exit_code"] == code
    assert report(conductor)["finished"]
    short = len(verdicts) < 4
    assert report(conductor)["note"] == (
        f"only {len(verdicts)} of 4 checks were judged" if short else ""
    )


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure is one that is known, and each void one is gone."""

    def outcome_of(inputs: Any, run: Any, check_id: str, verdict: Verdict) -> Any:
        others = {Outcome.FAIL: Outcome.KNOWN_DEFECT, Outcome.VOID: Outcome.FIXED_UPSTREAM}
        return others.get(verdict.outcome, verdict.outcome), None

    monkeypatch.setattr("mm_lora.run.ending.outcome_of", outcome_of)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("second", "strict", "diff", "code"),
    [
        (FAIL, False, False, 0),
        (FAIL, True, False, 1),
        (VOID, False, False, 1),  # a stale entry
        (VOID, False, True, 0),  # somebody's diff mends it
    ],
)
def test_known_defects_and_stale_entries(
    make: Make, second: Verdict, strict: bool, diff: bool, code: int
) -> None:
    conductor = make(on("a"), on("b"), strict=strict)
    conductor.begin()
    assert conductor.context is not None
    theirs = {"diff": {"name": "pr.diff", "sha256": "0"}} if diff else {}
    conductor.context.run.vllm = {"version": "0.32.0", **theirs}
    judged(conductor, PASS, second)
    assert conductor.end() == code


CRASH = Verdict(
    outcome=Outcome.FAIL,
    reason="how: crash; einsum(): subscript b has size 560 and previously seen size 432",
)


def test_a_crash_that_a_known_defect_explains_is_told_to_who_counts_them(make: Make) -> None:
    video, other = "numerics/qwen2.5-vl/all/picture-and-video", "numerics/qwen2.5-vl/all/small"
    wish = Wish(model="qwen2.5-vl")
    conductor = make(
        *(Planned(id=one, title=one, core=True, wish=wish) for one in (video, other)),
        model=("qwen2.5-vl",),
    )
    conductor.begin()
    assert conductor.context is not None
    conductor.context.run.vllm = {"version": "0.32.0"}
    judged(conductor, CRASH, CRASH)
    outcomes = {check.id: check.outcome for check in conductor.context.run.checks}
    assert outcomes == {video: Outcome.KNOWN_DEFECT, other: Outcome.FAIL}
    assert conductor.context.asker.explained_on == ["qwen2.5-vl"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_the_report_is_written(
    make: Make, number: signal.Signals, code: int
) -> None:
    conductor = make()
    conductor.begin()
    judged(conductor, FAIL)
    with pytest.raises(KeyboardInterrupt):
        conductor.interrupt(number)
    conductor.interrupt(signal.SIGTERM)  # a second one changes nothing
    with pytest.raises(KeyboardInterrupt):
        conductor.before("dice/b")
    assert conductor.end(interrupted=True) == code
    said = report(conductor)
    assert (said["exit_code"], said["outcome"]) == (code, "fail")
    assert said["note"] == "interrupted after 1 of 4 checks"
    assert conductor.context.calls[-2:] == ["close", "save"]  # type: ignore[union-attr]


def test_ctrl_c_that_pytest_has_seen_alone_is_sigint(make: Make) -> None:
    assert finished(make(), PASS, interrupted=True) == ExitCode.SIGINT


def test_what_ends_a_run_before_its_time_gives_code_and_note(make: Make) -> None:
    conductor = make()
    conductor.begin()
    judged(conductor, PASS, FAIL)
    conductor.fatal = TroubleError("no room", "the disk")
    assert conductor.end() == ExitCode.ERROR
    assert report(conductor)["note"].startswith("no room")


def test_a_report_that_cannot_be_written_is_trouble(make: Make) -> None:
    conductor = make(on("a"))
    conductor.begin()
    judged(conductor, PASS)
    conductor.context.trouble["save"] = ReportError("full")  # type: ignore[union-attr]
    assert conductor.end() == ExitCode.ERROR
    assert str(conductor.fatal) == "full"


def test_nothing_that_began_has_nothing_to_end(make: Make) -> None:
    conductor = make()
    assert conductor.end() is None
    assert conductor.ended("dice/a", PASS) is None


def test_a_shard_without_a_server_passes_and_says_so(make: Make) -> None:
    checks = (on("b", "scout"),)
    parts = [
        make(*checks, settings=Settings(shard=Shard(index=index, count=3))) for index in (1, 2, 3)
    ]
    codes = {finished(one, PASS) for one in parts}
    assert codes == {0}
    notes = [report(one)["note"] for one in parts]
    assert sorted(notes) == ["", *["no server falls into this shard"] * 2]
    assert all(report(one)["shard"]["planned"] == ["dice/b"] for one in parts)


def test_the_order_is_that_of_the_servers(make: Make) -> None:
    conductor = make()
    assert [check.id for check in conductor.plan.checks] == ["dice/a", "dice/b", "dice/d", "dice/c"]
    conductor = make(on("a"), on("b", "scout"), only=("dice/b",))
    assert [check.id for check in conductor.plan.checks] == ["dice/b"]


def test_servers_are_started_ahead_and_stopped_after_their_last_check(make: Make) -> None:
    conductor = make()
    assert finished(conductor, PASS, PASS, PASS, PASS) == 0
    assert conductor.context.pool.calls == [  # type: ignore[union-attr]
        ("prefetch", "scout"),  # before any check
        ("prefetch", "maverick"),  # after the first check on scout: it is ready
        ("release", "scout"),
        ("prefetch", "maverick"),
        ("release", "maverick"),
    ]


def test_the_next_server_waits_for_the_one_that_starts(make: Make) -> None:
    conductor = make()
    conductor.begin()
    conductor.context.pool.ready = False  # type: ignore[union-attr]
    judged(conductor, PASS, PASS)
    assert conductor.context.pool.calls == [("prefetch", "scout")]  # type: ignore[union-attr]


def test_vllm_is_imported_before_files_are_read(make: Make) -> None:
    conductor = make()
    conductor.begin()
    calls = conductor.context.calls  # type: ignore[union-attr]
    assert calls.index("look_around") < calls.index("begin_import") < calls.index("require_files")


def test_a_run_without_servers_looks_at_no_vllm(make: Make) -> None:
    conductor = make(on("a"))
    conductor.begin()
    assert conductor.context.calls == ["save"]  # type: ignore[union-attr]


def test_a_server_that_runs_already_is_attached(make: Make) -> None:
    others = [
        Planned(id=f"{group}/a", title="", core=True) for group in ("arithmetic", "relations")
    ]
    conductor = make(on("b", "scout"), *others, base_url="http://h:1", profile="remote")
    conductor.begin()
    assert conductor.context.calls == ["save", "look_around", "attach"]  # type: ignore[union-attr]


def test_in_16_bits_each_server_is_measured_before_its_first_check(make: Make) -> None:
    conductor = make(profile="rehearsal")
    conductor.begin()
    calls = conductor.context.calls  # type: ignore[union-attr]
    before = conductor.judge("dice/b")
    assert (before.tolerance, before.note) == (5e-2, "")
    for check in ("dice/a", "dice/b", "dice/d"):
        conductor.prepare(check)
    assert calls.count("tune") == 1
    conductor.prepare("dice/c")
    assert calls.count("tune") == 2
    judge = conductor.judge("dice/b")
    assert (judge.tolerance, judge.min_effect, judge.note) == (0.03, 0.15, "noisy")
    assert conductor.judge("dice/a").tolerance == 5e-2


def test_in_32_bits_nothing_is_measured(make: Make) -> None:
    conductor = make()
    conductor.begin()
    conductor.prepare("dice/b")
    assert "tune" not in conductor.context.calls  # type: ignore[union-attr]
    assert conductor.judge("dice/b").tolerance == 1e-3


def test_a_server_that_does_not_start_is_said_at_each_check(make: Make) -> None:
    conductor = make(profile="rehearsal")
    conductor.begin()
    conductor.context.pool.broken = ServerError("no start")  # type: ignore[union-attr]
    for _ in range(2):
        with pytest.raises(ServerError, match="no start"):
            conductor.prepare("dice/b")
    assert "tune" not in conductor.context.calls  # type: ignore[union-attr]


def test_a_measurement_that_breaks_is_not_made_again(make: Make) -> None:
    conductor = make(profile="rehearsal")
    conductor.begin()
    conductor.context.trouble["tune"] = KeyError("x")  # type: ignore[union-attr]
    with pytest.raises(KeyError):
        conductor.prepare("dice/b")
    assert conductor.prepare("dice/d") is not None
    assert conductor.judge("dice/d").tolerance == 5e-2


def test_a_check_is_written_with_its_server_and_the_line_to_repeat_it(make: Make) -> None:
    conductor = make(full=True, seed=7)
    conductor.begin()
    judged(conductor, PASS, Verdict(outcome=Outcome.FAIL, reason="wrong", error=0.5))
    first, second = report(conductor)["checks"]
    assert (first["server"], second["server"]) == (None, "scout, 0 adapters")
    assert (second["outcome"], second["reason"], second["error"]) == ("fail", "wrong", 0.5)
    assert second["repeat"].startswith("mm-lora verify ")
    assert second["repeat"].endswith("--seed 7 --only dice/b")
    assert "--full" not in second["repeat"]


def test_the_other_reports_are_written_at_the_end(make: Make, tmp_path: Path) -> None:
    finished(make(on("a")), PASS)
    (folder,) = (path for path in (tmp_path / "reports").iterdir() if not path.is_symlink())
    assert {path.name for path in folder.iterdir()} == {"junit.xml", "report.html", "report.md"}


def test_the_time_left_is_told_once_something_was_seen(make: Make) -> None:
    conductor = make(*(on(str(number), "scout") for number in range(8)))
    conductor.begin()
    judged(conductor, *[PASS] * 8)
    lefts = conductor.progress.lefts  # type: ignore[attr-defined]
    assert len(lefts) == 3  # after the sixth check: the first waited for the server
    assert lefts[-1] == (0.0, False)
