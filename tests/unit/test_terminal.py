"""The terminal's tables: what stands above is not said again."""

import pytest

from mm_lora.report.terminal import without_repeats


@pytest.mark.parametrize(
    ("row", "shown"),
    [
        (["scout", "336", "b", "1"], ["", "", "b", "1"]),
        (["scout", "504", "a", "1"], ["", "504", "a", "1"]),
        (["other", "336", "a", "1"], ["other", "336", "a", "1"]),
        # a whole row twice is said twice
        (["scout", "336", "a", "1"], ["scout", "336", "a", "1"]),
    ],
)
def test_only_leading_cells_are_left_empty(row: list[str], shown: list[str]) -> None:
    assert without_repeats(row, ["scout", "336", "a", "1"]) == shown
    assert without_repeats(row, []) == row
