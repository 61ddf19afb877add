"""pytest judges one case several times under other ids: clean, with a mutant, and clean again."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import pytest

from mm_lora.core.outcomes import Outcome
from mm_lora.inside.registry import mutant
from mm_lora.run import mutant_conductor, runner
from mm_lora.run.inputs import Inputs
from mm_lora.run.mutant_conductor import MutantConductor, Wanted
from mm_lora.run.options import RunOptions

CASE = """
import pytest

made = []

@pytest.fixture
def fresh():
    made.append("one")
    return len(made)

@pytest.mark.check("dice/{model}/one/picture", title="of its own fixtures")
@pytest.mark.server(adapters=("a",))
def test_one(model, fresh, served, check, context):
    assert context.pool.seen.setdefault(fresh, context.pool.judged) == context.pool.judged
    check.equal("", context.pool.judged.partition("@mutant")[1])
"""


class Pool(fakes.FakePool):
    """`judged`: the id that is told to the servers; `seen`: each by the number of its fixture."""

    def __init__(self) -> None:
        super().__init__()
        self.judged = ""
        self.seen: dict[int, str] = {}
        self.resets = 0

    def judging(self, check_id: str) -> None:
        self.judged = check_id

    def get(self, spec: Any) -> Any:
        return SimpleNamespace(client=SimpleNamespace(reset_caches=self._reset))

    def _reset(self) -> None:
        assert not self.judged, "no mutant acts while the caches are emptied"
        self.resets += 1


class Context(fakes.FakeContext):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.pool: Pool = Pool()
        self.asker = SimpleNamespace(forgive=lambda spec: None)


def test_a_case_is_judged_again_with_fixtures_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    (cases / "pytest.ini").write_text("[pytest]\naddopts = -p mm_lora.run.pytest_plugin\n")
    (cases / "test_mutants_cases_of_a_test.py").write_text(CASE)
    monkeypatch.setattr(runner, "cases_dir", lambda: cases)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD"):
        monkeypatch.setenv(name, "1" * (name != "PYTEST_ADDOPTS"))
    wraps = {"vllm.x:y": lambda original: original}
    patches = tuple(mutant(name, wraps, "because", kills=("dice/*",)) for name in "xy")
    monkeypatch.setattr(mutant_conductor, "PATCHES", patches)
    monkeypatch.setattr(mutant_conductor, "facts", lambda python: SimpleNamespace(vllm="0.32.0"))
    quiet = fakes.Quiet()
    conductor = MutantConductor(
        Inputs.read(RunOptions(reports=tmp_path)),
        Wanted(),
        make_context=Context,
        progress=quiet,
        signals=quiet,
    )
    assert runner.run_cases(conductor) == 0
    context: Any = conductor.context
    turns = ("clean-mutant-x", "mutant-x", "after-mutant-x", "mutant-y", "after-mutant-y")
    expected = [f"dice/scout/one/picture@{turn}" for turn in turns]
    assert list(context.pool.seen.values()) == expected
    assert list(context.pool.seen) == [1, 2, 3, 4, 5]
    assert [check.id for check in context.run.checks] == expected
    assert [check.outcome for check in context.run.checks].count(Outcome.FAIL) == 2
    assert context.pool.resets == 4
