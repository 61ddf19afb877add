"""Runs of mutants: which checks see which mutant, what they come to, exit codes, mutants.json."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import pytest

from mm_lora.cli.commands import mutants as command
from mm_lora.core.errors import ExitCode, ServerDied, UsageError
from mm_lora.core.outcomes import Outcome, Verdict
from mm_lora.inside import turns as inside_turns
from mm_lora.inside.catalogue import PATCHES
from mm_lora.inside.registry import Patch, mutant
from mm_lora.report import mutant_page
from mm_lora.run import mutant_conductor, mutant_turns
from mm_lora.run.inputs import Inputs
from mm_lora.run.mutant_conductor import MutantConductor, Wanted
from mm_lora.run.mutant_turns import Lane, Part, Turn
from mm_lora.run.options import RunOptions
from mm_lora.run.plan import Planned, Wish
from mm_lora.run.shards import Shard

EVERY_LANE = tuple(Lane)
PASS, FAIL = Verdict(outcome=Outcome.PASS), Verdict(outcome=Outcome.FAIL, reason="0.5 off")
VOID, ERROR = Verdict(outcome=Outcome.VOID), Verdict(outcome=Outcome.ERROR, reason="no answer")
CRASH = Verdict(outcome=Outcome.FAIL, reason="how: crash; the server dies")


def seeded(name: str, *kills: str, **more: Any) -> Patch:
    return mutant(name, {"vllm.x:y": lambda original: original}, "because", kills=kills, **more)


def check(identity: str, *, probe: bool = False, core: bool = True, **more: Any) -> Planned:
    wish = Wish(model="scout", probe=probe)
    return Planned(id=identity, title=identity, core=core, wish=wish, **more)


ROWS = check("arithmetic/scout/rows/few", probe=True)
EFFECT, BASE = check("dice/scout/tower/effect"), check("dice/scout/base/picture")
RELATION = check("relations/scout/tower/moves")
LAST = check("arithmetic/scout/rows/every-step", probe=True, last=True)
CHECKS = (EFFECT, BASE, RELATION, ROWS, LAST)


def lanes_of(patch: Patch, **more: Any) -> Mapping[Lane, tuple[str, ...]]:
    (trial,) = mutant_turns.trials([patch], CHECKS, EVERY_LANE, misfit={}, **more)
    return trial.lanes


def test_each_lane_sees_the_kills_that_are_in_it_in_their_order() -> None:
    patch = seeded("x", "arithmetic/*/rows/*", "dice/*/effect", "relations/*")
    assert lanes_of(patch) == {
        Lane.CHECKS: (ROWS.id, EFFECT.id, RELATION.id),
        Lane.ANSWERS: (EFFECT.id, RELATION.id),
        Lane.RELATIONS: (RELATION.id,),
    }


def test_a_lane_without_a_kill_judges_by_its_core_unless_it_is_said_to_be_blind() -> None:
    blind = {"relations": "nothing meets there"}
    patch = seeded("x", "arithmetic/*", survives=blind)
    assert lanes_of(patch)[Lane.ANSWERS] == (EFFECT.id, BASE.id, RELATION.id)
    assert lanes_of(patch)[Lane.RELATIONS] == ()
    assert lanes_of(patch, every=True)[Lane.RELATIONS] == (RELATION.id,)


def test_what_cannot_be_judged_says_why() -> None:
    patches = [seeded("a", "lifecycle/*"), seeded("b", "dice/*")]
    found = mutant_turns.trials(patches, CHECKS, EVERY_LANE, misfit={"mutant-b": "is for cuda"})
    assert [one.reason for one in found] == [
        "none of its checks is there for this model",
        "is for cuda",
    ]
    assert [one.cases for one in found] == [[], []]


def names(*only: str, family: str = "one", shard: Shard | None = None) -> list[str]:
    patches = (
        seeded("any"),
        seeded("own", families=("one",)),
        seeded("other", families=("two",)),
        *(one for one in PATCHES if one.id == mutant_turns.SILENT),
    )
    chosen = mutant_turns.share(mutant_turns.chosen(patches, family, only), shard)
    return [one.id for one in chosen]


def test_mutants_are_chosen_by_family_pattern_and_shard() -> None:
    assert names() == ["mutant-any", "mutant-own"]
    assert names("own", family="one") == names("mutant-o*") == ["mutant-own"]
    parts = [names(shard=Shard(index=index, count=2)) for index in (1, 2)]
    assert parts == [["mutant-any"], ["mutant-own"]]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("owm", "matches no mutant\n  check: near: mutant-own"),
        ("other", "names no mutant of one\n  check: --family two"),
    ],
)
def test_a_mutant_that_is_not_there_is_wrong_usage(word: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        names(word)
    assert said in str(error.value)


def test_a_toggled_mutant_acts_in_its_own_judgements_alone(tmp_path: Path) -> None:
    patches = [seeded("x", "dice/*"), seeded("new-x", "dice/*"), seeded("y", needs_restart=True)]
    wanted = [Turn(case=EFFECT.id, mutant=one.id, part=part) for one in patches for part in Part]
    planned = mutant_turns.planned(wanted, CHECKS, patches, "cpu")
    specs = {one.id: one.wish.patches for one in planned if one.wish}
    shared = specs.pop(f"{EFFECT.id}@mutant-y")
    assert shared == ("auto", mutant_turns.SILENT, "mutant-y")
    (patterns,) = set(specs.values())
    scopes = inside_turns.scopes(patterns)
    judging = tmp_path / inside_turns.FILE
    for identity in specs:
        judging.write_text(identity)
        acting = [one for one in scopes if inside_turns.Turn(judging, scopes[one])()]
        turn = identity.partition("@")[2]
        assert acting == ([turn] if turn in ("mutant-x", "mutant-new-x") else [])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., "Run"]:
    """A run of given mutants in which each judgement comes to what `said` says of it."""

    def made(patches: Sequence[Patch], said: Mapping[str, Any], **wanted: Any) -> Run:
        monkeypatch.setattr(mutant_conductor, "PATCHES", tuple(patches))
        vllm = SimpleNamespace(vllm="0.32.0")
        monkeypatch.setattr(mutant_conductor, "facts", lambda python: vllm)
        return Run(tmp_path, said, Wanted(**wanted))

    return made


class Run:
    """`asked`: the judgements that were made; `document`: mutants.json, read from its file."""

    def __init__(self, folder: Path, said: Mapping[str, Any], wanted: Wanted) -> None:
        quiet = fakes.Quiet()
        self.conductor = MutantConductor(
            Inputs.read(RunOptions(reports=folder, with_fixes=True)),
            wanted,
            make_context=fakes.FakeContext,
            progress=quiet,
            signals=quiet,
        )
        self.asked: list[str] = []
        order = self.conductor.arrange(CHECKS)
        self.conductor.begin()
        interrupted = False
        for planned in order:
            end = said.get(planned.id, PASS)
            interrupted = interrupted or (end is KeyboardInterrupt)
            if not interrupted:
                self._judge(planned.id, end)
        self.code = self.conductor.end(interrupted=interrupted)
        (file,) = folder.glob("latest/mutants.json")
        self.document = json.loads(file.read_text(encoding="utf-8"))

    def _judge(self, identity: str, end: Any) -> None:
        self.conductor.before(identity)
        if self.conductor.needless(identity):
            verdict = Verdict(outcome=Outcome.SKIP)
        else:
            self.asked.append(identity)
            verdict = end
            if isinstance(end, Exception):
                self.conductor.context.pool.broken = end  # type: ignore[union-attr]
                with pytest.raises(type(end)):
                    self.conductor.prepare(identity)
                verdict = ERROR
        self.conductor.ended(identity, verdict)
        self.conductor.after(identity)

    def lane(self, at: int = 0) -> Any:
        return self.document["lanes"][at]

    def result(self, at: int = 0) -> Any:
        return self.lane()["mutants"][at]


X = seeded("x", "dice/*")
CLEAN, UNDER, AFTER = (f"@{word}mutant-x" for word in ("clean-", "", "after-"))


def test_a_mutant_is_killed_by_the_first_check_that_fails(run: Callable[..., Run]) -> None:
    ended = run([X], {EFFECT.id + UNDER: FAIL})
    assert ended.asked == [
        *(EFFECT.id + CLEAN, BASE.id + CLEAN),
        *(EFFECT.id + UNDER, EFFECT.id + AFTER),
    ]
    assert ended.code == 0
    duration = ended.result().pop("duration_s")
    assert isinstance(duration, float)
    assert ended.document == {
        "schema": 1,
        "model": "scout",
        "vllm": "0.32.0",
        "exit_code": 0,
        "shard": None,
        "lanes": [
            {
                "lane": "checks",
                "baseline": {"judged": 2, "failed": []},
                "mutants": [
                    {
                        "id": "mutant-x",
                        "result": "killed",
                        "how": "numbers",
                        "killed_by": [EFFECT.id],
                        "reason": "",
                        "restarted": False,
                    }
                ],
                "control_failures": [],
            }
        ],
    }


def test_every_candidate_is_judged_where_that_is_asked_for(run: Callable[..., Run]) -> None:
    both = {EFFECT.id + UNDER: FAIL, BASE.id + UNDER: FAIL}
    assert run([X], both, every=True).result()["killed_by"] == [EFFECT.id, BASE.id]


@pytest.mark.parametrize(
    ("said", "survives", "code", "result"),
    [
        ({EFFECT.id + UNDER: CRASH}, {}, 0, ("killed", "crash")),
        ({}, {}, 1, ("survived", None)),
        ({}, {"checks": "nobody looks"}, 0, ("survived", None)),
        ({EFFECT.id + UNDER: FAIL}, {"checks": "nobody looks"}, 0, ("killed", "numbers")),
        # Without it a check fails: what it says under the mutant proves nothing.
        ({EFFECT.id + CLEAN: FAIL, BASE.id + UNDER: FAIL}, {}, 3, ("killed", "numbers")),
        ({EFFECT.id + CLEAN: VOID, BASE.id + CLEAN: FAIL}, {}, 3, ("not-judged", None)),
        # Damage that stays.
        ({EFFECT.id + UNDER: FAIL, EFFECT.id + AFTER: FAIL}, {}, 3, ("killed", "numbers")),
        ({EFFECT.id + UNDER: ERROR, BASE.id + UNDER: ERROR}, {}, 3, ("not-judged", None)),
        ({EFFECT.id + UNDER: VOID, BASE.id + UNDER: VOID}, {}, 3, ("not-judged", None)),
        ({EFFECT.id + UNDER: VOID, BASE.id + UNDER: VOID}, {"checks": "void"}, 0, ("survived",)),
    ],
)
def test_exit_codes(
    run: Callable[..., Run],
    said: Mapping[str, Verdict],
    survives: Mapping[str, str],
    code: int,
    result: tuple[str, ...],
) -> None:
    ended = run([seeded("x", "dice/*", survives=survives)], said)
    found = ended.result()
    assert (found["result"], found["how"])[: len(result)] == result
    assert ended.code == code


def test_nothing_judged_is_no_pass(run: Callable[..., Run]) -> None:
    ended = run([seeded("x", "lifecycle/*")], {})
    assert (ended.asked, ended.code) == ([], ExitCode.EMPTY)
    assert ended.result()["result"] == "not-judged"


def test_a_server_that_does_not_start_counts_apart(run: Callable[..., Run]) -> None:
    died = ServerDied("ended with 1 while it started")
    ended = run([seeded("x", "dice/*", needs_restart=True)], {EFFECT.id + UNDER: died})
    assert (ended.result()["result"], ended.result()["how"]) == ("killed", "start")
    assert ended.result()["restarted"]
    assert ended.asked == [EFFECT.id + CLEAN, BASE.id + CLEAN, EFFECT.id + UNDER]


def test_ctrl_c_leaves_what_there_is(run: Callable[..., Run]) -> None:
    y = seeded("y", "dice/*")
    stopped = {EFFECT.id + UNDER: FAIL, f"{EFFECT.id}@mutant-y": KeyboardInterrupt}
    ended = run([X, y], stopped)
    assert ended.code == ExitCode.SIGINT
    assert ended.result(0)["result"] == "killed"
    assert ended.result(1)["reason"] == "the run ended before"


def test_one_judgement_counts_in_every_lane_that_has_the_check(run: Callable[..., Run]) -> None:
    patch = seeded("x", "arithmetic/*", "dice/*/effect", survives={"relations": "blind"})
    under = {ROWS.id + UNDER: FAIL, EFFECT.id + UNDER: FAIL}
    ended = run([patch], under, lanes=EVERY_LANE)
    killed = [lane["mutants"][0]["killed_by"] for lane in ended.document["lanes"]]
    assert killed == [[ROWS.id, EFFECT.id], [EFFECT.id], []]
    assert ended.code == 0
    assert len(ended.asked) == len(set(ended.asked))


def test_the_page_has_a_cell_for_each_judgement(run: Callable[..., Run]) -> None:
    y = seeded("y", "dice/*/picture")
    ended = run([X, y], {BASE.id + UNDER: FAIL})
    page = mutant_page.markdown(ended.conductor.summary())
    assert "1 killed, 0 by crash, 1 survived." in page
    assert "| mutant | result | 1 | others |" in page
    assert "| `x` | killed | X | 1 pass |" in page
    assert "| `y` | survived | · |  |" in page
    assert f"- 1: `{BASE.id}`" in page
    assert page == (ended.conductor.context.folder.path / "mutants.md").read_text()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"lanes": ["rows"]}, "no lane 'rows'"),
        ({"names": ("llama4", "scout")}, "--family and --model"),
        ({"names": ("lama", None)}, "no family 'lama'"),
        ({"shard": "3/2"}, "--shard 3/2 is not a shard"),
        ({"setting": ["mutant=mutant-scale-off"]}, "in the control too"),
        ({"setting": ["shard=1/2"]}, "shares out checks"),
    ],
)
def test_wrong_usage_of_the_command(told: dict[str, Any], said: str) -> None:
    right: dict[str, Any] = {"names": (None, None), "lanes": ["checks"], "shard": "", **told}
    options = {"setting": right.pop("setting", ())}
    with pytest.raises(UsageError, match=said):
        command.run(options, only=(), every=False, dry_run=True, as_json=False, **right)
