"""Mutants: seeded mistakes that only several ranks can make."""

from types import ModuleType
from typing import Any

from ..hooks import replace
from ..registry import mutant

_COLUMN = "vllm.lora.layers.column_parallel_linear"
_ROW = "vllm.lora.layers.row_parallel_linear"
_POINTS = {
    _COLUMN: (
        "ColumnParallelLinearWithLoRA.slice_lora_b",
        "MergedColumnParallelLinearWithLoRA.slice_lora_b",
    ),
    _ROW: ("RowParallelLinearWithLoRA.slice_lora_a",),
}


def take_the_first_part(module: ModuleType) -> None:
    """Every rank takes the first rank's part of each adapter: B of column layers, A of row layers.

    The base's own weights are split as they should be.
    """

    def make(original: Any) -> Any:
        def first_part(self: Any, weights: Any) -> Any:
            rank, parts = self.tp_rank, getattr(self, "output_ids", ())
            self.tp_rank, self.output_ids = 0, (0,) * len(parts)
            try:
                return original(self, weights)
            finally:
                self.tp_rank, self.output_ids = rank, parts

        return first_part

    for point in _POINTS.get(module.__name__, _POINTS[_COLUMN]):
        replace(module, point, make)


PATCHES = (
    mutant(
        "first-rank-parts",
        (_COLUMN, _ROW),
        take_the_first_part,
        "every rank takes the first rank's part of an adapter",
        versions=">=0.28",
    ),
)
