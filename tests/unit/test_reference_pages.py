"""docs/reference/ is what the code says today, and what it says is whole."""

from pathlib import Path

import pytest
from every_case import every_case

from mm_lora.cli.reference import __main__ as reference
from mm_lora.cli.reference import exit_codes, outcomes, settings
from mm_lora.core import errors
from mm_lora.core.outcomes import MEANINGS, Outcome
from mm_lora.core.selection import GROUPS
from mm_lora.core.skips import TEXTS, SkipReason
from mm_lora.report import claims
from mm_lora.run.case_list import Case
from mm_lora.run.settings import listing

DOCS = Path(__file__).parents[2] / "docs" / "reference"


def test_the_stored_pages_are_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "cases", every_case)
    stored = {file.name: file.read_text(encoding="utf-8") for file in DOCS.iterdir()}
    assert dict(reference.pages()) == stored, "`make reference` writes them anew"


def test_every_group_says_what_it_proves_and_what_it_cannot() -> None:
    assert set(claims.CLAIMS) == set(claims.BLIND) == set(GROUPS)
    assert {case.group for case in every_case()} == set(GROUPS)


def test_every_word_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Outcome)
    assert set(TEXTS) == set(SkipReason)
    assert set(errors.MEANINGS) == set(errors.ExitCode)


def test_every_setting_has_a_part_of_its_own() -> None:
    page = settings.page()
    assert all(f"\n## {one.key}\n" in page for one in listing())


def test_a_known_defect_counts_with_strict_alone() -> None:
    assert "| 0; 1 with `--strict` |" in outcomes.page()


def test_commands_with_codes_of_their_own_are_listed() -> None:
    page = exit_codes.page()
    for command in ("mutants", "matrix", "inspect", "watch", "doctor", "report diff"):
        assert f"| `mm-lora {command}` |" in page


@pytest.mark.parametrize(
    ("of", "core", "when"), [(2, 0, "full"), (2, 1, "core in part"), (2, 2, "core")]
)
def test_which_run_judges_a_case(of: int, core: int, when: str) -> None:
    case = Case(id="dice/{model}/x", title="t", truths=(), every_model=False)
    case.checks, case.core = ["dice/a/x", "dice/b/x"][:of], core
    assert case.when == when
