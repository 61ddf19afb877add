"""Which models a whole run measures."""

import pytest

from mm_lora.run.case_marks import measures_every_model
from mm_lora.run.options import RunOptions
from mm_lora.run.profiles import load


@pytest.mark.parametrize(
    ("options", "profile", "check_id", "measured"),
    [
        (RunOptions(full=True), "cpu", "numerics/maverick/projector/1-chunk", True),
        (RunOptions(full=True), "cpu", "soak/maverick/mixed", False),
        (RunOptions(), "cpu", "numerics/maverick/projector/1-chunk", False),
        (RunOptions(full=True, model=("scout",)), "cpu", "dice/maverick/base/effect", False),
        # one model's weights are on the disk
        (RunOptions(full=True), "gpu", "relations/maverick/two-names/equal", False),
    ],
)
def test_a_whole_run_measures_every_miniature(
    options: RunOptions, profile: str, check_id: str, measured: bool
) -> None:
    assert measures_every_model(check_id, options, load(profile)) is measured
