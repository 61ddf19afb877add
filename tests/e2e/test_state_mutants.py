"""Every seeded defect of group states fails the check of its state, and no check of short answers.

They take turns on shared servers: each acts only while its own check is judged.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from cli_run import Verify, in_turn

STATES = "states/scout/"
LANGUAGE = "language-v_proj"
KILLS: Mapping[str, str] = {
    "mutant-late-tokens": f"long-answer/{LANGUAGE}",
    "mutant-far-positions": f"long-context/{LANGUAGE}",
    "mutant-prompt-row-off": f"prompt-positions/{LANGUAGE}/1-chunk",
    "mutant-later-answers": f"several/{LANGUAGE}",
    "mutant-later-beams": f"beams/{LANGUAGE}",
    "mutant-completions-base": f"completions/{LANGUAGE}",
    "mutant-responses-base": f"responses/{LANGUAGE}",
    "mutant-lost-when-preempted": "preempted/small-cache",
    "mutant-lost-after-part-of-picture": f"hit-in-picture/{LANGUAGE}",
    "mutant-left-behind": "client-leaves/free-slots",
    "mutant-mapping-left-behind": "rows-move/free-slots",
    "mutant-guesses-base": f"n-gram/{LANGUAGE}",
    "mutant-no-default": "default-adapter/base",
    "mutant-default-first": f"default-adapter/{LANGUAGE}",
}
SHORT = (
    f"numerics/scout/{LANGUAGE}/?-chunk*",
    f"numerics/scout/{LANGUAGE}/text-only",
    "isolation/scout/mixed-batch/free-slots",
)
"""Checks of short answers, which all but one defect leave as they are. Two pictures are a long
context already."""


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Verify:
    words = in_turn({mutant: [STATES + check] for mutant, check in KILLS.items()})
    return Verify(*words, reports=tmp_path_factory.mktemp("reports")).end()


@pytest.mark.parametrize("mutant", KILLS)
def test_killed_in_turn(seeded: Verify, mutant: str) -> None:
    assert seeded.outcomes().get(STATES + KILLS[mutant]) == "fail", seeded.text


def test_short_answers_show_none_of_them(tmp_path: Path) -> None:
    mutants = ",".join(mutant for mutant in KILLS if mutant != "mutant-mapping-left-behind")
    words = [word for check in SHORT for word in ("--only", check)]
    ended = Verify(*words, "--set", f"mutant={mutants}", reports=tmp_path).end()
    outcomes = ended.outcomes()
    assert outcomes
    assert set(outcomes.values()) == {"pass"}, ended.text
    assert ended.code == 0
