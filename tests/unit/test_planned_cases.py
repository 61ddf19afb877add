"""The real cases as they are planned for a profile: nothing gets a server only to be skipped."""

import sys

import pytest

from mm_lora.core.resources import cases_dir
from mm_lora.run.conductor import Conductor
from mm_lora.run.options import RunOptions
from mm_lora.run.runner import planned


def arranged(options: RunOptions) -> Conductor:
    """The checks of the cases, planned as a run with these options has them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", "")  # the runner takes it away
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        # Cases and unit tests have modules of the same names.
        patch.setattr(sys, "path", list(sys.path))
        for file in cases_dir().glob("*.py"):
            patch.delitem(sys.modules, file.stem, raising=False)
        return planned(options)


@pytest.fixture(scope="module")
def rehearsal() -> Conductor:
    """Every check of a profile without a reference, arranged."""
    return arranged(RunOptions(profile="rehearsal", full=True))


def test_what_needs_the_reference_is_known_before_any_server(rehearsal: Conductor) -> None:
    """Refusal judges the others against it: it had two servers of its own, and was skipped."""
    mine = [check for check in rehearsal.plan.checks if check.id.startswith("refusal/")]
    assert mine
    assert {check.skip.partition(":")[0] for check in mine} == {"no-reference"}
    assert not [check.id for check in mine if rehearsal.plan.server_of(check.id)]


def test_no_server_has_only_what_is_skipped(rehearsal: Conductor) -> None:
    for check in rehearsal.plan.checks:
        assert not (check.skip and rehearsal.plan.server_of(check.id)), check.id
    small = [spec for spec in rehearsal.plan.specs if spec.flag("max-cpu-loras") == "2"]
    assert small == [], "evicted adapters are compared with the reference"


@pytest.mark.parametrize(
    ("check", "named"),
    [
        ("coverage/gemma4-sounds/target-modules/one-layer", ("qkv_proj",)),
        (
            "arithmetic/gemma4-sounds/rows/projector/vision-side-alone",
            ("linear", "input_proj_linear", "output_proj", "embedding_projection"),
        ),
        # What no flag makes servable stays out.
        (
            "arithmetic/qwen3-vl-moe/rows/merger/vision-side-alone",
            ("linear_fc1", "linear_fc2"),
        ),
    ],
)
def test_target_modules_are_named_as_vllm_calls_the_layers(
    check: str, named: tuple[str, ...]
) -> None:
    plan = arranged(RunOptions(model=(check.split("/")[1],), only=(check,))).plan
    spec = plan.server_of(check)
    assert spec is not None
    assert spec.flag("lora-target-modules") == named
