"""Fix: maps the patch embedding's rows, which are patches, apart from the tower's with CLS."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

from ...registry import Patch

TOWER = "vision_model."
PATCH_EMBEDDING = "vision_model.patch_embedding."


def _with_own_wrapper(original: Any) -> Any:
    def _maybe_init_mm(self: Any, *args: Any, **kwargs: Any) -> Any:
        outcome = original(self, *args, **kwargs)
        tower = self.punica_wrapper_mapping.get(TOWER)
        if type(self.model).__name__ == "Llama4ForConditionalGeneration" and tower is not None:
            # A longer prefix than the tower's, so that vLLM's own rule chooses it. A copy has
            # room enough: there are fewer patches than rows.
            self.punica_wrapper_mapping[PATCH_EMBEDDING] = copy.deepcopy(tower)
        return outcome

    return _maybe_init_mm


def _mapped_too(original: Any) -> Any:
    def _set_adapter_mapping(self: Any, mapping: Any) -> Any:
        outcome = original(self, mapping)
        wrapper = self.punica_wrapper_mapping.get(PATCH_EMBEDDING)
        if wrapper is not None and mapping.type.name == "TOWER":
            vision = self.model.config.vision_config
            patches = (vision.image_size // vision.patch_size) ** 2
            wrapper.update_metadata(
                dataclasses.replace(
                    mapping, index_mapping=without_class_tokens(mapping.index_mapping, patches)
                ),
                self.lora_index_to_id,
                self.lora_slots + 1,
                self.vocab_size,
            )
        return outcome

    return _set_adapter_mapping


def without_class_tokens(index_mapping: Sequence[int], patches: int) -> tuple[int, ...]:
    """The adapter of each patch, from the adapter of each tower row: one row a chunk less."""
    return tuple(
        adapter for row, adapter in enumerate(index_mapping) if row % (patches + 1) < patches
    )


PATCH = Patch(
    id="llama4-patch-embedding-rows",
    kind="fix",
    versions=">=0.16",
    wraps={
        "vllm.lora.model_manager:LoRAModelManager._maybe_init_mm": _with_own_wrapper,
        "vllm.lora.model_manager:LoRAModelManager._set_adapter_mapping": _mapped_too,
    },
    reason="the patch embedding is held by the tower's wrapper, which maps p² + 1 rows a chunk, "
    "but it runs before the class token is added and sees p²",
)
