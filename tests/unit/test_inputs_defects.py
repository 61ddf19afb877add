"""Which known defects a run expects of a model: a user's own model has its family's alone."""

import json
from pathlib import Path

from mm_lora.checks.defects import load
from mm_lora.families.models import resolve
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
