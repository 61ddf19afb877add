"""Fix: patches of a vision tower get their positions by whole numbers, so that none is rounded."""

import importlib
from typing import Any

from ..registry import Patch

MODULE = "vllm.model_executor.models.idefics2_vision_model"


def _whole_numbers(original: Any) -> Any:
    def get_position_ids(
        self: Any, patch_attention_mask: Any, tgt_sizes: Any = None, **more: Any
    ) -> Any:
        rounded = original(self, patch_attention_mask, tgt_sizes, **more)
        if tgt_sizes is not None or patch_attention_mask.dim() != 3:
            return rounded
        mask, side = patch_attention_mask, self.num_patches_per_side
        high, wide = mask[:, :, 0].sum(1), mask[:, 0, :].sum(1)
        # Boundaries k/side at or below i/n, for 0 < k < side: i·side/n, rounded down.
        row, column = (
            steps(size, mask.device) * side // n.clamp(min=1)[:, None]
            for size, n in zip(mask.shape[1:], (high, wide), strict=True)
        )
        ids = (row[:, :, None] * side + column[:, None, :]).flatten(1)
        return ids.where(mask.flatten(1), 0).to(rounded.device)

    def steps(size: int, device: Any) -> Any:
        # By name: the harness reads the catalogue too, and has no torch.
        return importlib.import_module("torch").arange(size, device=device)

    return get_position_ids


PATCH = Patch(
    id="patch-positions-exact",
    kind="fix",
    versions=">=0.32",
    wraps={f"{MODULE}:Idefics2VisionEmbeddings.get_position_ids": _whole_numbers},
    reason="10/27 as a float is below the boundary 10/27: of 27 patches a side, as 384/14 has, the "
    "eleventh row and column get the position before theirs",
)
