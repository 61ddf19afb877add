"""Mutants: seeded mistakes in Llama 4's LoRA hooks, which the row checks must find.

Each changes what vLLM maps, never what the layers see: the mistakes that a porter makes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...mutants.mapping import MISCOUNTED, MISPLACED, under_tower
from ...registry import Patch, mutant

MODULE = "vllm.model_executor.models.mllama4"
CLASS = "Llama4ForConditionalGeneration"
MAPPING = f"{MODULE}:{CLASS}.get_mm_mapping"
VISION_ADAPTER = "vision_model.vision_adapter."
OWN = ("llama4",)


@dataclass(frozen=True)
class Chunks:
    """How many chunks a count stands for, and the right rows of one: patches, CLS, connector."""

    count: int
    patches: int
    connector: int

    @property
    def right(self) -> tuple[int, int]:
        """(tower rows, connector rows)."""
        return self.count * (self.patches + 1), self.count * self.connector


Mistake = Callable[[Chunks], tuple[int, int]]
"""What the mistaken hook answers: (tower rows, connector rows)."""


def forget_cls(chunks: Chunks) -> tuple[int, int]:
    """576 instead of 577 tower rows a chunk."""
    return chunks.count * chunks.patches, chunks.right[1]


def ratio_not_squared(chunks: Chunks) -> tuple[int, int]:
    """p² · ratio instead of p² · ratio² connector rows: 288 instead of 144 a chunk."""
    rows = round((chunks.patches * chunks.connector) ** 0.5)
    return chunks.right[0], chunks.count * rows


def chunk_lost(chunks: Chunks) -> tuple[int, int]:
    """The global tile forgotten: one chunk too few for every picture that is cut."""
    count = max(1, chunks.count - 1)
    return count * (chunks.patches + 1), count * chunks.connector


def _miscount(name: str, mistake: Mistake, reason: str) -> Patch:
    """`mistake` in the count hook of either generation."""
    model = f"{MODULE}:{CLASS}"
    return mutant(
        name,
        {f"{model}.get_mm_lora_token_counts": lambda own: _both(own, mistake)},
        reason,
        instead={
            f"{model}.get_num_mm_encoder_tokens": lambda own: _one(own, mistake, 0),
            f"{model}.get_num_mm_connector_tokens": lambda own: _one(own, mistake, 1),
        },
        kills=MISCOUNTED,
        families=OWN,
    )


def _both(original: Any, mistake: Mistake) -> Any:
    def get_mm_lora_token_counts(self: Any, **asked: Any) -> tuple[int, int]:
        tower, _ = original(self, **asked)
        return mistake(_chunks(self, tower)) if tower else (0, 0)

    return get_mm_lora_token_counts


def _one(original: Any, mistake: Mistake, which: int) -> Any:
    """One hook of the older pair; the second is asked with what the first answered."""

    def count(self: Any, tokens: int) -> int:
        rows = original(self, tokens)
        if not rows:
            return 0
        patches, connector = _geometry(self)
        chunks = rows // (connector if which else patches + 1)
        if which and mistake is not ratio_not_squared:
            return int(rows)  # follows from the tower's wrong number by itself
        return mistake(Chunks(chunks, patches, connector))[which]

    return count


def _chunks(model: Any, tower: int) -> Chunks:
    patches, connector = _geometry(model)
    return Chunks(tower // (patches + 1), patches, connector)


def _geometry(model: Any) -> tuple[int, int]:
    vision = model.config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return patches, round(patches * vision.pixel_shuffle_ratio**2)


PATCHES = (
    _miscount("forget-cls", forget_cls, "tower rows without the class token"),
    _miscount("ratio-not-squared", ratio_not_squared, "connector rows by ratio, not ratio²"),
    mutant(
        "adapter-under-tower",
        {MAPPING: under_tower(MAPPING, VISION_ADAPTER)},
        "vision adapter held by the tower",
        kills=MISPLACED,
        families=OWN,
        needs_restart=True,
    ),
    _miscount("chunk-lost", chunk_lost, "the global tile is not counted"),
)
