"""Each rank's part of an adapter becomes the first rank's, on a stand-in for vLLM's layers."""

from types import ModuleType
from typing import Any

import pytest

from mm_lora.inside.hooks import HookGone
from mm_lora.inside.mutants.ranks import PATCHES

(FIRST_PARTS,) = PATCHES


def test_every_rank_takes_the_first_part() -> None:
    class ColumnParallelLinearWithLoRA:
        tp_rank = 1

        def slice_lora_b(self, weights: list[int]) -> Any:
            return weights[self.tp_rank]

    class MergedColumnParallelLinearWithLoRA(ColumnParallelLinearWithLoRA):
        output_ids = (1, 1)

        def slice_lora_b(self, weights: list[int]) -> Any:
            return [weights[part] for part in self.output_ids]

    module = ModuleType("vllm.lora.layers.column_parallel_linear")
    for owner in (ColumnParallelLinearWithLoRA, MergedColumnParallelLinearWithLoRA):
        setattr(module, owner.__name__, owner)
    FIRST_PARTS.apply(module)
    merged = MergedColumnParallelLinearWithLoRA()
    assert ColumnParallelLinearWithLoRA().slice_lora_b([10, 11]) == 10
    assert merged.slice_lora_b([10, 11]) == [10, 10]
    assert (merged.tp_rank, merged.output_ids) == (1, (1, 1))


@pytest.mark.parametrize("name", FIRST_PARTS.modules)
def test_a_lost_hook_point_is_named(name: str) -> None:
    with pytest.raises(HookGone):
        FIRST_PARTS.apply(ModuleType(name))
