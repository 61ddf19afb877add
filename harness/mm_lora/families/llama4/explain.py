"""Named predictors of Llama 4's known defects, over mismatches of rows and of coverage."""

from collections.abc import Sequence
from typing import Protocol

from mm_lora.families.llama4.geometry import Geometry

PATCH_EMBEDDING = "vision_model.patch_embedding."
WITH_CLS = "patch-embedding-rows-with-cls"
SECOND_NAME, TWO_NAMES = ".experts._shared_experts.", "shared-expert-has-two-names"


class Found(Protocol):
    """A mismatch: see `checks.mismatch`."""

    @property
    def where(self) -> str: ...
    @property
    def what(self) -> str: ...
    @property
    def expected(self) -> object: ...
    @property
    def observed(self) -> object: ...


def rows(geometry: Geometry, found: Sequence[Found]) -> tuple[str, ...]:
    """`patch-embedding-rows-with-cls`: only the patch embedding is wrong, and it is mapped the
    tower's rows, p² + 1 a chunk, where it sees p²."""
    if found and all(_has_class_tokens(geometry, one) for one in found):
        return (WITH_CLS,)
    return ()


def coverage(found: Sequence[Found]) -> tuple[str, ...]:
    """`shared-expert-has-two-names`: layers with a second name, under which no adapter has a
    tensor."""
    second = (one.what == "tensors in the file" and SECOND_NAME in one.where for one in found)
    return (TWO_NAMES,) if found and all(second) else ()


def _has_class_tokens(geometry: Geometry, found: Found) -> bool:
    if not found.where.partition(PATCH_EMBEDDING)[1]:
        return False
    if found.what == "rows mapped" and isinstance(found.expected, int):
        chunks, rest = divmod(found.expected, geometry.patch_rows)
        return not rest and found.observed == chunks * geometry.encoder_rows
    # The runs of a wrong number of rows differ with it.
    return found.what == "adapter of each row"
