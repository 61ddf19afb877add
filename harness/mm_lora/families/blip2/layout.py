"""Pure arithmetic: the rows of a picture in BLIP-2, the same for each, as it becomes one square.

Written from the paper (arXiv 2301.12597, section 3), sharing no line with transformers or vLLM.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm_lora.core.errors import UsageError
from mm_lora.families.image_processor import require_same
from mm_lora.families.layouts import require_whole, vision_of
from mm_lora.families.llava.layout import require_size


@dataclass(frozen=True, kw_only=True)
class Layout:
    """`image_size`: side of the square that a picture becomes; `patch_size`: of a patch;
    `queries`: rows of the Q-Former for a picture. Raises UsageError where no model can have
    these numbers.
    """

    image_size: int
    patch_size: int
    queries: int

    def __post_init__(self) -> None:
        require_whole(self, "image_size", "patch_size", "queries")
        if self.image_size % self.patch_size:
            raise UsageError(
                f"patch_size {self.patch_size} does not divide image_size {self.image_size}",
                "image_size and patch_size of vision_config",
            )

    @property
    def side(self) -> int:
        """Patches along the square."""
        return self.image_size // self.patch_size

    @property
    def encoder_rows(self) -> int:
        """Rows of every tower layer for one picture, and of what the Q-Former reads of it: the
        class token too."""
        return self.side**2 + 1


def layout_of(config: Mapping[str, Any], folder: Path | None) -> Layout:
    """Of a config.json, where transformers' defaults stand for what it lacks. The processor's files
    in `folder` must say the same."""
    vision = vision_of(config, "BLIP-2")
    text = config.get("text_config")
    kind = text.get("model_type", "opt") if isinstance(text, Mapping) else "opt"
    if kind != "opt":
        raise UsageError(f"the language model is a {kind!r}, which vLLM's class cannot run", "opt")
    layout = Layout(
        image_size=vision.get("image_size", 224),
        patch_size=vision.get("patch_size", 14),
        queries=config.get("num_query_tokens", 32),
    )
    if folder is not None:
        require_size(folder, layout.image_size)
        require_same(folder, {"num_query_tokens": layout.queries})
    return layout
