"""Known defects a run expects of a model, and what it says of those that explain a failure."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mm_lora.checks.defects import NO_START, load, with_known_defects
from mm_lora.core.errors import ServerDied
from mm_lora.core.outcomes import Outcome, Verdict
from mm_lora.core.record import Run
from mm_lora.families.models import resolve
from mm_lora.run.case_end import verdict_of
from mm_lora.run.ending import reason_of
from mm_lora.run.inputs import Inputs
from mm_lora.run.options import RunOptions


def test_an_own_model_has_the_defects_of_its_family_alone(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    config = json.dumps(resolve("scout").config)
    (folder / "config.json").write_text(config, encoding="utf-8")
    inputs = Inputs.read(RunOptions(model=(str(folder),)))
    mine = inputs.known_defects("dice/mine/projector/picture")
    assert {one.id for one in mine} == {
        one.id for one in load() if not one.families or "llama4" in one.families
    }
    assert "llava-class-token-dies" not in {one.id for one in mine}
    assert not inputs.ends_server("dice/mine/projector/picture")


def test_an_own_adapter_that_a_known_defect_explains_is_told_so_in_words() -> None:
    hit = Verdict(
        outcome=Outcome.FAIL, reason="0.4 off", predicted_by=("language-qk-rows-not-permuted",)
    )
    read = Inputs.read(RunOptions(model=("scout",)))
    inputs = replace(read, own={"mine": None})  # type: ignore[dict-item]
    run = Run(profile="cpu", argv=[], seed=0, started="", vllm={"version": "0.32.0"})
    said = reason_of(inputs, run, "dice/scout/mine/effect", hit)
    assert said.startswith("0.4 off: the known defect llama4-qk-lora-rows, not your adapter: ")
    assert "goes to the wrong rows of each head" in said
    assert "fix: patch llama4-qk-lora-rows" in said
    assert "no vLLM is known to be without it" in said
    assert "just as" not in said
    # Our own adapter, a vLLM that does not have it, a failure that nothing predicts:
    by_predictor = "0.4 off, just as language-qk-rows-not-permuted predicts"
    assert reason_of(inputs, run, "dice/scout/all/effect", hit) == by_predictor
    run.vllm = {"version": "0.30.0"}
    assert reason_of(inputs, run, "dice/scout/mine/effect", hit) == by_predictor
    unseen = replace(hit, predicted_by=())
    assert reason_of(inputs, run, "dice/scout/mine/effect", unseen) == "0.4 off"


def test_a_defect_names_the_versions_without_it() -> None:
    (old,) = (one for one in load() if one.id == "rank-pattern-ignored")
    assert "vLLM 0.32.0 is without it" in old.in_words
    assert not any(old.seen_in(version, "cpu") for version in old.without)


def test_a_server_that_does_not_start_is_explained_only_where_an_entry_says_so() -> None:
    entries = [one for one in load() if one.symptom in (NO_START, "server-dies")]
    (known,) = (one for one in entries if one.symptom == NO_START)
    identity = known.smallest.replace("{model}", known.families[0])
    said = "ValueError: LoRA target module a.q_proj (Odd) matched the deployment configuration but "
    ended = ServerDied(f"ended while starting: {said}could not be wrapped", starting=True)
    verdict = verdict_of_error(ended)
    assert (verdict.outcome, verdict.is_no_start) == (Outcome.ERROR, True)
    judged = with_known_defects(verdict, identity, "0.32.0", "cpu", entries)
    assert judged == (Outcome.KNOWN_DEFECT, known.id)
    for other in (
        ServerDied("ended while starting: OSError", starting=True),
        ServerDied(ended.what),
        ServerDied(ended.what, by_signal=9, starting=True),
    ):
        verdict = verdict_of_error(other)
        assert with_known_defects(verdict, identity, "0.32.0", "cpu", entries)[0] is Outcome.ERROR
    passed = Verdict(outcome=Outcome.PASS)
    assert with_known_defects(passed, identity, "0.32.0", "cpu", entries)[1] == known.id


def verdict_of_error(error: Exception) -> Verdict:
    def ends() -> None:
        raise error

    return verdict_of(None, pytest.CallInfo.from_call(ends, "call"))
