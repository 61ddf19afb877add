"""Mutants: seeded mistakes that only several ranks can make."""

from typing import Any

from ..registry import mutant

_COLUMN = "vllm.lora.layers.column_parallel_linear"
_ROW = "vllm.lora.layers.row_parallel_linear"
_POINTS = (
    f"{_COLUMN}:ColumnParallelLinearWithLoRA.slice_lora_b",
    f"{_COLUMN}:MergedColumnParallelLinearWithLoRA.slice_lora_b",
    f"{_ROW}:RowParallelLinearWithLoRA.slice_lora_a",
)


def take_the_first_part(original: Any) -> Any:
    """Every rank takes the first rank's part of each adapter: B of column layers, A of row layers.

    The base's own weights are split as they should be.
    """

    def first_part(self: Any, weights: Any) -> Any:
        rank, parts = self.tp_rank, getattr(self, "output_ids", ())
        self.tp_rank, self.output_ids = 0, (0,) * len(parts)
        try:
            return original(self, weights)
        finally:
            self.tp_rank, self.output_ids = rank, parts

    return first_part


PATCHES = (
    mutant(
        "first-rank-parts",
        dict.fromkeys(_POINTS, take_the_first_part),
        "every rank takes the first rank's part of an adapter",
        versions=">=0.28",
        kills=("parallel/*/tensor/tower-*", "parallel/*/tensor/language-*"),
        needs_restart=True,
        survives={"relations": "relations are asked of one rank"},
    ),
)
